// Which view is shown, remembered over a reload.
export const viewNames = ['draw', 'compare', 'train', 'gallery', 'library'] as const;
export type ViewName = (typeof viewNames)[number];

const key = 'mole-atelier-view';

class Navigation {
  #view = $state<ViewName>(viewNames.find((name) => name === sessionStorage.getItem(key)) ?? 'draw');

  get view(): ViewName {
    return this.#view;
  }

  show(view: ViewName): void {
    this.#view = view;
    sessionStorage.setItem(key, view);
  }
}

export const navigation = new Navigation();
