import { type CSSProperties, useState } from 'react';
import { address } from '../api';
import { count, digits } from '../format';
import { Pager } from '../parts/Pager';
import { Empty, Ready } from '../parts/Status';
import { changed, type Route } from '../route';
import type { AnomalousRow, Picture, RowPage } from '../types';
import { useApi } from '../useApi';
import { Downloads } from './Downloads';
import { FeedbackBar } from './FeedbackBar';
import { Marked } from './Marked';
import { type Selection, useSelection } from './selection';

const SIZE = 12;

interface GalleryProps {
  name: string;
  partition: string;
  mayDecide: boolean;
  route: Route;
}

/** Flagged pictures, worst first: as they are, as they should be, and where they are wrong. */
export function Gallery({ name, partition, mayDecide, route }: GalleryProps) {
  const page = Number(route.query.get('page') ?? 0) || 0;
  const found = useApi<RowPage>(address(['pipelines', name, 'rows'], { partition, offset: page * SIZE, limit: SIZE }));
  const selection = useSelection((found.data?.rows ?? []).map((row) => row.row));
  const [zoom, setZoom] = useState(160);
  const [opacity, setOpacity] = useState(0.7);
  const [over, setOver] = useState<'heatmap' | 'mask'>('heatmap');
  const picture = (row: number, what: Picture) => address(['pipelines', name, 'picture'], { partition, row, what });
  return (
    <Ready from={found} lines={14}>
      {(list) => (
        <>
          <div className="filters">
            <label className="field">
              Zoom <input type="range" min={64} max={640} step={16} value={zoom} onChange={(event) => setZoom(Number(event.target.value))} />
            </label>
            <label className="field">
              Opacity of what is wrong <input type="range" min={0} max={1} step={0.05} value={opacity} onChange={(event) => setOpacity(Number(event.target.value))} />
            </label>
            <label className="field">
              Show as
              <select value={over} onChange={(event) => setOver(event.target.value === 'mask' ? 'mask' : 'heatmap')}>
                <option value="heatmap">heatmap: how wrong</option>
                <option value="mask">mask: wrong pixels</option>
              </select>
            </label>
            <Downloads name={name} partition={partition} pictures />
          </div>
          {list.rows.length === 0 && <Empty>No picture is anomalous here: nothing to look at.</Empty>}
          <ul className="gallery" style={{ '--zoom': `${zoom}px`, '--over': opacity } as CSSProperties}>
            {list.rows.map((row) => (
              <Shown key={row.row} row={row} picture={picture} over={over} selection={mayDecide ? selection : null} />
            ))}
          </ul>
          {mayDecide && list.rows.length > 0 && <FeedbackBar name={name} partition={partition} seen={list.seen} selection={selection} what="picture" done={found.reload} />}
          <Pager total={list.total} page={page} size={SIZE} what="flagged pictures" hrefOf={(at) => changed(route, { page: at || null })} />
        </>
      )}
    </Ready>
  );
}

interface ShownProps {
  row: AnomalousRow;
  picture: (row: number, what: Picture) => string;
  over: 'heatmap' | 'mask';
  selection: Selection | null;
}

function Shown({ row, picture, over, selection }: ShownProps) {
  const name = Object.values(row.keys).find((value) => value !== null) ?? `picture ${count(row.row)}`;
  const original = picture(row.row, 'original');
  const veil = `url("${picture(row.row, over)}")`;
  return (
    <li>
      <div className="about">
        {selection && <input type="checkbox" aria-label={`Select ${name}`} checked={selection.has(row.row)} onChange={(event) => selection.toggle(row.row, event.target.checked)} />}
        <b className="name" title={name}>{name}</b>
        <span className="faint">score {digits(row.anomaly_score)}, p-value {digits(row.p_value, 2)}</span>
        <Marked mark={row.feedback} />
      </div>
      <div className="pictures">
        <figure>
          <img src={original} alt={`${name} as observed`} loading="lazy" />
          <figcaption>original</figcaption>
        </figure>
        <figure>
          <img src={picture(row.row, 'denoised')} alt={`${name} denoised`} loading="lazy" />
          <figcaption>denoised</figcaption>
        </figure>
        <figure>
          <div className="layers">
            <img src={original} alt={`${name} with its wrong pixels in red`} loading="lazy" />
            <div className="veil" style={{ maskImage: veil, WebkitMaskImage: veil }} />
          </div>
          <figcaption>{over}</figcaption>
        </figure>
      </div>
    </li>
  );
}
