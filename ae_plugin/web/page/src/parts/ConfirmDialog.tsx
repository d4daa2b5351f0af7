import { type ReactNode, useEffect, useId, useRef, useState } from 'react';

interface ConfirmProps {
  title: string;
  action: string;
  danger?: boolean;
  ready?: boolean;
  children: ReactNode;
  onConfirm: () => Promise<void>;
  onClose: () => void;
}

/** Asks before something is done; stays, with the server's line, when it was not. */
export function ConfirmDialog({ title, action, danger, ready = true, children, onConfirm, onClose }: ConfirmProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<string | null>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const confirm = async () => {
    setBusy(true);
    setError(null);
    try {
      await onConfirm();
      onClose();
    } catch (failed) {
      setError((failed as Error).message);
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby={heading} onClose={onClose}>
      <h2 id={heading}>{title}</h2>
      {children}
      {error !== null && (
        <p className="note bad" role="alert">
          {error}
        </p>
      )}
      <div className="actions">
        <button type="button" onClick={() => dialog.current?.close()}>
          Cancel
        </button>
        <button type="button" className={danger ? 'danger' : 'primary'} disabled={busy || !ready} onClick={() => void confirm()}>
          {action}
        </button>
      </div>
    </dialog>
  );
}
