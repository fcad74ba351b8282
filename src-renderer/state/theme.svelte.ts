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

  /** What the artist chose; undefined follows the system. */
  get chosen(): Theme | undefined {
    return this.#chosen;
  }

  choose(theme: Theme | undefined): void {
    this.#chosen = theme;
    if (theme === undefined) localStorage.removeItem(key);
    else localStorage.setItem(key, theme);
  }

  /** The other one, from now on and the next time. */
  toggle(): void {
    this.choose(this.current === 'dark' ? 'light' : 'dark');
  }
}

export const theme = new ThemeState();
