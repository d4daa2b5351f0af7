import './styles/tokens.css';
import './styles/base.css';
import './styles/parts.css';
import './styles/tables.css';
import './styles/controls.css';
import './styles/views.css';
import './styles/partition.css';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { App } from './App';
import { Boundary } from './parts/Boundary';
import { followTheme } from './theme';

followTheme();
const place = document.getElementById('root');
if (place) {
  createRoot(place).render(
    <StrictMode>
      <Boundary>
        <App />
      </Boundary>
    </StrictMode>,
  );
}
