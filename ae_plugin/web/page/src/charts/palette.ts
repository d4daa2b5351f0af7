// Colours of the charts, from the page's own custom properties, so that both follow one theme.

export interface Palette {
  text: string;
  faint: string;
  line: string;
  panel: string;
  brand: string;
  good: string;
  warn: string;
  bad: string;
  band: string;
  ramp: string[];
}

export function palette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const of = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: of('text'),
    faint: of('faint'),
    line: of('line'),
    panel: of('panel'),
    brand: of('brand'),
    good: of('good'),
    warn: of('warn'),
    bad: of('bad'),
    band: of('band'),
    ramp: [of('ramp-0'), of('ramp-1'), of('ramp-2'), of('ramp-3')],
  };
}
