// What the server says about an address, kept while it is asked again.
import { useCallback, useEffect, useRef, useState } from 'react';
import { get } from './api';

export interface Loaded<T> {
  data: T | null;
  error: string | null;
  loading: boolean;
  reload: () => void;
}

const STALE_MS = 60_000;

/** `null` asks nothing. Older data stays while newer is on its way; who must not see it gives its view a `key`. */
export function useApi<T>(url: string | null): Loaded<T> {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState<string | null>(null);
  const [done, setDone] = useState<string | null>(null);
  const [turn, setTurn] = useState(0);
  const at = useRef(0);
  const asked = url === null ? null : `${turn} ${url}`;
  const reload = useCallback(() => setTurn((before) => before + 1), []);

  useEffect(() => {
    if (url === null || asked === null) return undefined;
    const controller = new AbortController();
    get<T>(url, controller.signal).then(
      (found) => {
        at.current = Date.now();
        setData(found);
        setError(null);
        setDone(asked);
      },
      (failed: Error) => {
        if (controller.signal.aborted) return;
        setError(failed.message);
        setDone(asked);
      },
    );
    return () => controller.abort();
  }, [url, asked]);

  useEffect(() => {
    const look = () => {
      if (!document.hidden && at.current && Date.now() - at.current > STALE_MS) reload();
    };
    document.addEventListener('visibilitychange', look);
    return () => document.removeEventListener('visibilitychange', look);
  }, [reload]);

  return { data, error, loading: asked !== done, reload };
}
