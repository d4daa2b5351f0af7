import { readFileSync } from 'node:fs';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

// What the bundle holds of others' work; their licences want to be shipped with it.
const BUNDLED = ['react', 'react-dom', 'scheduler', 'echarts', 'zrender', 'tslib'];

function licences() {
  return {
    name: 'licences',
    generateBundle() {
      const read = (name, file) => readFileSync(new URL(`node_modules/${name}/${file}`, import.meta.url), 'utf8');
      const licence = (name) => read(name, name === 'tslib' ? 'LICENSE.txt' : 'LICENSE');
      const source = BUNDLED.map((name) => {
        const { version } = JSON.parse(read(name, 'package.json'));
        return `${name} ${version}\n\n${licence(name).trim()}\n`;
      }).join(`\n${'-'.repeat(80)}\n\n`);
      this.emitFile({ type: 'asset', fileName: 'LICENSES.txt', source });
    },
  };
}

export default defineConfig({
  base: './', // Airflow may sit behind a proxy's prefix
  plugins: [react(), licences()],
  build: {
    outDir: '../static',
    emptyOutDir: true,
    target: 'es2022',
    sourcemap: false,
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // no data: URLs, so that a strict content security policy can stand
    chunkSizeWarningLimit: 900,
  },
  test: { include: ['src/**/*.test.ts'] },
});
