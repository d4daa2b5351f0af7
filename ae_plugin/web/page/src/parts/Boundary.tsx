import { Component, type ReactNode } from 'react';

interface BoundaryState {
  failed: string | null;
}

/** A bug of ours ends in a line, not in a blank page. */
export class Boundary extends Component<{ children: ReactNode }, BoundaryState> {
  override state: BoundaryState = { failed: null };

  static getDerivedStateFromError(error: unknown): BoundaryState {
    return { failed: error instanceof Error ? error.message : String(error) };
  }

  override render(): ReactNode {
    if (this.state.failed === null) return this.props.children;
    return (
      <p className="note bad" role="alert">
        This view could not be shown: {this.state.failed}.{' '}
        <button type="button" onClick={() => window.location.reload()}>
          Reload
        </button>
      </p>
    );
  }
}
