// Recipes: the stack kept under a name, and put back with what is missing said by name and hash.
import type { LoadedRecipe, RecipeCard } from '../../src-main/contract/window-library.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import { mixingOf, type NamedRow } from './expert-stack.svelte.ts';
import { studio } from './studio.svelte.ts';

const text = strings.library.recipes;

class Recipes {
  #cards = $state.raw<readonly RecipeCard[]>([]);

  constructor() {
    connection.onWelcome(() => void this.refresh());
    connection.onNews((news) => {
      if (news.kind === 'recipes') this.#cards = news.recipes;
    });
  }

  readonly bundled: readonly RecipeCard[] = $derived(this.#cards.filter(({ bundled }) => bundled));
  readonly own: readonly RecipeCard[] = $derived(this.#cards.filter(({ bundled }) => !bundled));

  async refresh(): Promise<void> {
    const cards = await connection.attempt(() => connection.request('recipes', {}));
    if (cards !== undefined) this.#cards = cards;
  }

  /** Saves the stack; whether that was possible. */
  async save(name: string): Promise<boolean> {
    const mix = studio.experts.mix();
    if (mix === undefined) {
      connection.tell(text.nothingToSave);
      return false;
    }
    return (await connection.attempt(() => connection.request('saveRecipe', { name, mix }))) !== undefined;
  }

  async remove({ path, name }: RecipeCard): Promise<void> {
    const removed = await connection.attempt(() => connection.request('removeRecipe', { path }));
    if (removed !== undefined) connection.tell(text.removed(name));
  }

  /** Puts the stack of the recipe at `path` in the place of the present one, which can be brought back. */
  async load(path: string): Promise<void> {
    await connection.attempt(async () => {
      const recipe = await connection.request('loadRecipe', { path });
      const rows = await rowsOf(recipe);
      const { name, gate, experts } = recipe;
      const missing = [...experts, ...(gate === undefined ? [] : [gate])].filter((file) => file.path === undefined);
      const complete = missing.length === 0;
      const gateReport = gate?.path === undefined ? undefined : await studio.inspect(gate.path);
      const undo = studio.experts.keep();
      const refused = studio.experts.restore(rows, gateReport, mixingOf(recipe, complete));
      connection.offer(text.loaded(name), { label: strings.library.row.undo, run: undo });
      const files = missing.map((file) => text.missingFile(file.name, file.sha256));
      if (!complete) connection.tell(text.missing(name, files));
      for (const message of refused) connection.tell(message);
    });
  }
}

/** The rows of a recipe whose files were found. */
async function rowsOf({ experts }: LoadedRecipe): Promise<readonly NamedRow[]> {
  const rows: NamedRow[] = [];
  for (const { path, settings } of experts) {
    if (path !== undefined) rows.push({ report: await studio.inspect(path), settings });
  }
  return rows;
}

export const recipes = new Recipes();
