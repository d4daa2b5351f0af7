import { createContext, type ReactNode, useContext, useEffect, useState } from 'react';

const Say = createContext<(text: string) => void>(() => undefined);

/** What an action came to: shown, and read out, until the next one, or the next view. */
export function Live({ children }: { children: ReactNode }) {
  const [text, setText] = useState('');
  useEffect(() => {
    const clear = () => setText('');
    window.addEventListener('hashchange', clear);
    return () => window.removeEventListener('hashchange', clear);
  }, []);
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
