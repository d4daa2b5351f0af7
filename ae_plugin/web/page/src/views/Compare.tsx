import { address } from '../api';
import { Scroll } from '../parts/Scroll';
import { Empty, Ready } from '../parts/Status';
import { changed, go, type Route } from '../route';
import type { ModelEntry, VersionComparison } from '../modelTypes';
import { useApi } from '../useApi';

interface CompareProps {
  name: string;
  models: ModelEntry[];
  shown: string;
  route: Route;
}

/** What changed from one version to another. */
export function Compare({ name, models, shown, route }: CompareProps) {
  const other = route.query.get('with') ?? '';
  const found = useApi<VersionComparison>(other ? address(['pipelines', name, 'compare'], { one: other, other: shown }) : null);
  return (
    <section>
      <h2>What changed</h2>
      <label className="field">
        From
        <select value={other} onChange={(event) => go(changed(route, { with: event.target.value || null }))}>
          <option value="">choose a version</option>
          {models.filter((model) => model.version !== shown).map((model) => (
            <option key={model.version}>{model.version}</option>
          ))}
        </select>
        to {shown}
      </label>
      {other !== '' && (
        <Ready from={found} lines={5}>
          {({ one, other: later, differences }) =>
            differences.length === 0 ? (
              <Empty>Nothing that is recorded differs.</Empty>
            ) : (
              <Scroll label="Differences">
                <table>
                  <caption className="sr">What differs between {one} and {later}</caption>
                  <thead>
                    <tr>
                      <th scope="col">What</th>
                      <th scope="col">{one}</th>
                      <th scope="col">{later}</th>
                    </tr>
                  </thead>
                  <tbody>
                    {differences.map((difference) => (
                      <tr key={difference.what}>
                        <th scope="row">{difference.what}</th>
                        <td>{difference.one}</td>
                        <td>{difference.other}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </Scroll>
            )
          }
        </Ready>
      )}
    </section>
  );
}
