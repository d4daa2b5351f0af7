// Talking to the server: relative addresses, one-line errors.
import type { Query } from './route';

export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

export function address(path: string[], query: Query = {}, rows: number[] = []): string {
  const kept = Object.entries(query).filter(([, value]) => value != null);
  const search = new URLSearchParams(kept.map(([key, value]) => [key, String(value)]));
  for (const row of rows) search.append('row', String(row));
  const text = search.toString();
  return `api/${path.map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`;
}

export function get<T>(url: string, signal?: AbortSignal): Promise<T> {
  return request<T>(url, { signal });
}

export function post<T>(path: string[], body: unknown): Promise<T> {
  const headers = { 'Content-Type': 'application/json', 'X-Requested-By': 'ae_plugin' };
  return request<T>(address(path), { method: 'POST', headers, body: JSON.stringify(body) });
}

async function request<T>(url: string, options: RequestInit): Promise<T> {
  let response: Response;
  try {
    response = await fetch(url, { credentials: 'same-origin', ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError('The server cannot be reached: is the Airflow api-server running?', 0);
  }
  const isJson = response.headers.get('content-type')?.includes('json') ?? false;
  if (response.ok && isJson) return (await response.json()) as T;
  if (response.ok) {
    throw new ApiError('Airflow answered with a page of its own: see `airflow plugins` for why ae_plugin is not loaded.', 0);
  }
  const detail = isJson ? line(await response.json().catch(() => null)) : null;
  throw new ApiError(explained(response.status, detail), response.status);
}

function explained(status: number, detail: string | null): string {
  if (status === 401) return 'Nobody is signed in. Sign in to Airflow, then reload.';
  if (status === 403) return `${detail ?? 'Not allowed'}. Ask for rights on the DAG, or sign in to Airflow, then reload.`;
  return detail ?? `The server answered ${status}; its log says more.`;
}

/** FastAPI's `detail`: a line, or a list of what is wrong with the request. */
export function line(body: unknown): string | null {
  if (typeof body !== 'object' || body === null || !('detail' in body)) return null;
  const { detail } = body;
  if (typeof detail === 'string') return detail;
  if (!Array.isArray(detail)) return null;
  return detail.map((one: { loc?: unknown[]; msg?: string }) => `${one.loc?.at(-1) ?? ''}: ${one.msg ?? ''}`).join('; ');
}
