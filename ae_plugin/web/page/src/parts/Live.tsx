import { createContext, type ReactNode, useContext, useState } from 'react';

const Say = createContext<(text: string) => void>(() => undefined);

/** What an action came to: shown, and read out, until the next one. */
export function Live({ children }: { children: ReactNode }) {
  const [text, setText] = useState('');
  return (
    <Say.Provider value={setText}>
      {children}
      <div className="live" role="status">
        {text !== '' && (
          <p>
            {text}{' '}
            <button type="button" onClick={() => setText('')}>
              Close
            </button>
          </p>
        )}
      </div>
    </Say.Provider>
  );
}

export function useSay(): (text: string) => void {
  return useContext(Say);
}
