// Light or dark: the artist's choice, else the system's.
const key = 'mole-atelier-theme';

export type Theme = 'light' | 'dark';

class ThemeState {
  #chosen = $state<Theme>();
  #system = $state<Theme>('dark');

  constructor() {
    const stored = localStorage.getItem(key);
    if (stored === 'light' || stored === 'dark') this.#chosen = stored;
    const query = matchMedia('(prefers-color-scheme: light)');
    this.#system = query.matches ? 'light' : 'dark';
    query.addEventListener('change', ({ matches }) => {
      this.#system = matches ? 'light' : 'dark';
    });
  }

  get current(): Theme {
    return this.#chosen ?? this.#system;
  }

  /** The other one, from now on and the next time. */
  toggle(): void {
    this.#chosen = this.current === 'dark' ? 'light' : 'dark';
    localStorage.setItem(key, this.#chosen);
  }
}

export const theme = new ThemeState();
