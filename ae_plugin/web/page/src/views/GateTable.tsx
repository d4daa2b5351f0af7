import { Bar } from '../parts/Bar';
import { Scroll } from '../parts/Scroll';
import type { Gate } from '../modelTypes';
import { SCORERS } from '../words';

/** How well this version, and those it was compared with, tell injected faults from normal rows. */
export function GateTable({ gate }: { gate: Gate }) {
  const kinds = [...new Set(gate.results.flatMap((result) => Object.keys(result.auroc)))];
  const cell = (value: number | undefined, best: number) =>
    value === undefined ? '–' : <Bar share={(value - 0.5) * 2} text={value.toFixed(3)} tone={value >= best ? 'now' : 'training'} />;
  const line = (name: string, values: (number | undefined)[]) => (
    <tr key={name}>
      <th scope="row">{name}</th>
      {values.map((value, index) => (
        <td key={gate.results[index]?.scorer}>{cell(value, Math.max(...values.map((one) => one ?? 0)))}</td>
      ))}
    </tr>
  );
  return (
    <>
      <h3>Gate: {gate.passed ? '✓ passed' : '✗ failed'}</h3>
      <ul>
        {gate.reasons.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
      {gate.results.length > 0 && (
        <Scroll label="Gate results">
          <table className="narrow equal">
            <caption>AUROC on faults injected into held-out rows: 1 is perfect, 0.5 (an empty bar) is chance</caption>
            <thead>
              <tr>
                <th scope="col">Fault</th>
                {gate.results.map((result) => (
                  <th key={result.scorer} scope="col">
                    {SCORERS[result.scorer]}
                    {result.scorer === 'champion' && gate.champion !== null && ` (${gate.champion})`}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {kinds.map((kind) => line(kind, gate.results.map((result) => result.auroc[kind])))}
              {line('all, on average', gate.results.map((result) => result.mean))}
            </tbody>
          </table>
        </Scroll>
      )}
    </>
  );
}
