import { Tabs } from '../parts/Tabs';
import { to } from '../route';

/** What there is of a pipeline. */
export function PipelineTabs({ name, current }: { name: string; current: string }) {
  const tabs = [
    { id: 'timeline', text: 'Partitions', href: to.pipeline(name) },
    { id: 'models', text: 'Models', href: to.models(name) },
    { id: 'traversal', text: 'Traversal', href: to.traversal(name) },
  ];
  return <Tabs label="Of this pipeline" tabs={tabs} current={current} />;
}
