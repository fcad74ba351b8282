// What helps to write prompts: <lora:…> tags that become rows of the stack, templates that stand for many prompts, lists of words,
// and the words of the chosen experts.
import type { DrawOrder } from '../../src-main/contract/window-drawing.ts';
import type { Expansion, ReadTags, TagRow, WildcardShelf } from '../../src-main/contract/window-prompts.ts';
import { strings } from '../strings.ts';
import { connection } from './connection.svelte.ts';
import type { Added, ExpertRow, ExpertStack } from './expert-stack.svelte.ts';
import { wordsOf } from './failure-words.ts';
import type { Order } from './order.svelte.ts';

/** Jobs that all combinations of one template may become. */
export const mostCombinations = 100;
/** Milliseconds of quiet before combinations are counted. */
const countAfterMs = 250;
/** Trigger words shown of one expert. */
const wordsOfExpert = 6;

const mayHoldTags = (text: string): boolean => /<(lora|lyco):[^>]+>/i.test(text);
const mayBeTemplate = (text: string): boolean => /[{}]|__/.test(text);

export interface TriggerWord {
  readonly word: string;
  /** Name of the expert that it wakes. */
  readonly expert: string;
  readonly used: boolean;
}

export class PromptTools {
  readonly #order: Order;
  readonly #experts: ExpertStack;
  readonly #add: (path: string) => Promise<Added | undefined>;
  #expansion = $state.raw<Pick<Expansion, 'isTemplate' | 'total'>>({ isTemplate: false, total: 1 });
  #problem = $state<string>();
  #shelf = $state.raw<WildcardShelf>();
  #countTimer: ReturnType<typeof setTimeout> | undefined;

  /** `add` adds a file of the host's machine to the stack. */
  constructor(order: Order, experts: ExpertStack, add: (path: string) => Promise<Added | undefined>) {
    this.#order = order;
    this.#experts = experts;
    this.#add = add;
    connection.onWelcome(() => {
      this.count();
    });
  }

  /** What the prompts of the form stand for. */
  get expansion(): Pick<Expansion, 'isTemplate' | 'total'> {
    return this.#expansion;
  }

  /** Why the prompts cannot be expanded. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Undefined before it is asked for. */
  get shelf(): WildcardShelf | undefined {
    return this.#shelf;
  }

  /** Words that wake the experts of the stack, without those that are silent. */
  readonly triggers: readonly TriggerWord[] = $derived.by(() => {
    const { prompt } = this.#order.fields;
    const all = this.#speaking().flatMap(({ name, adapter }) =>
      adapter.triggerWords.slice(0, wordsOfExpert).map((word) => ({
        word,
        expert: name,
        used: wherever(word).test(prompt),
      })),
    );
    return all.filter(({ word }, i) => all.findIndex((other) => other.word === word) === i);
  });

  /** The prompt with `word`, or without it when it is there. */
  toggled(word: string): string {
    const { prompt } = this.#order.fields;
    if (wherever(word).test(prompt)) {
      return prompt
        .replace(wherever(word), '')
        .replace(/ {2,}/g, ' ')
        .replace(/ +,/g, ',')
        .replace(/(,\s*)+(?=,)|^[\s,]+|[\s,]+$/g, '');
    }
    const before = prompt.trimEnd().replace(/,$/, '');
    return before === '' ? word : `${before}, ${word}`;
  }

  /** Asks for the lists of words. */
  async lookAtLists(): Promise<void> {
    this.#shelf = (await connection.attempt(() => connection.request('wildcards', {}))) ?? this.#shelf;
  }

  /** Counts what the prompts stand for when no key was pressed for a moment. */
  count(): void {
    clearTimeout(this.#countTimer);
    const { prompt, negative } = this.#order.fields;
    if (!mayBeTemplate(prompt) && !mayBeTemplate(negative)) {
      this.#expansion = { isTemplate: false, total: 1 };
      this.#problem = undefined;
      return;
    }
    this.#countTimer = setTimeout(() => {
      connection.request('expandPrompt', { prompt, negativePrompt: negative, mode: 'all', limit: 0 }).then(
        (expansion) => {
          this.#expansion = expansion;
          this.#problem = undefined;
        },
        (error: unknown) => {
          this.#problem = wordsOf(error);
        },
      );
    }, countAfterMs);
  }

  /** A prompt of what the experts of the stack and the bundled model know; undefined when the lists are missing. */
  async inspire(): Promise<string | undefined> {
    const words = this.#speaking().flatMap(({ adapter }) => adapter.triggerWords.slice(0, 1));
    const isStyle = (word: string): boolean => /\bstyle\b/i.test(word);
    const one = (choices: readonly string[], otherwise: string): string =>
      choices[Math.floor(Math.random() * choices.length)] ?? otherwise;
    const subject = one(
      words.filter((word) => !isStyle(word)),
      '__subject__',
    );
    const style = one(words.filter(isStyle), '__style__');
    const draw = async (prompt: string): Promise<string | undefined> =>
      mayBeTemplate(prompt)
        ? (await connection.request('expandPrompt', { prompt, mode: 'random' })).prompts[0]?.prompt
        : prompt;
    return connection.attempt(async () =>
      strings.orderTools.inspired((await draw(subject)) ?? '', (await draw(style)) ?? ''),
    );
  }

  /**
   * Turns the tags of a text into rows of the stack; returns the text without them, undefined at once when it holds none. Names
   * that are not found are said and stay to be seen.
   */
  takeTags(text: string): Promise<string> | undefined {
    if (!mayHoldTags(text)) return undefined;
    return this.#take(text).catch((error: unknown) => {
      connection.tell(wordsOf(error));
      return text;
    });
  }

  /** Rows that were missing and have come: they take the weights of their tags. */
  async adopt(): Promise<void> {
    const { missing } = this.#order.fields;
    const come = missing.filter(({ name }) => this.#rowCalled(name) !== undefined);
    if (come.length === 0) return;
    this.#order.set({ missing: missing.filter((tag) => !come.includes(tag)) });
    for (const tag of come) this.#weigh(this.#rowCalled(tag.name)!, tag);
    await Promise.resolve();
  }

  forget(name: string): void {
    this.#order.set({ missing: this.#order.fields.missing.filter((tag) => tag.name !== name) });
  }

  /** The orders that the form's prompts stand for, tags taken first. Undefined when that cannot be said; the artist was told why. */
  async orders(draft: () => DrawOrder): Promise<readonly DrawOrder[] | undefined> {
    const without = await this.takeTags(this.#order.fields.prompt);
    if (without !== undefined && without !== this.#order.fields.prompt) this.#order.set({ prompt: without });
    const order = draft();
    const { prompt, negativePrompt = '', seed, batch = 1 } = order;
    if (!mayBeTemplate(prompt) && !mayBeTemplate(negativePrompt)) return [order];
    const mode = this.#order.fields.expansion;
    const expansion = await connection.attempt(() =>
      connection.request('expandPrompt', {
        prompt,
        negativePrompt,
        mode,
        count: batch,
        limit: mostCombinations,
        ...(seed === undefined ? {} : { seed }),
      }),
    );
    // Escaped braces are resolved also where nothing is drawn.
    if (expansion === undefined) return undefined;
    if (!expansion.isTemplate) return expansion.prompts.slice(0, 1).map((one) => ({ ...order, ...texts(one) }));
    const template = { prompt, negativePrompt };
    const orders: DrawOrder[] = [];
    for (const one of expansion.prompts) {
      const { seed: own } = one;
      const drawn = { ...order, ...texts(one), seed: own, batch: mode === 'all' ? batch : 1, template };
      orders.push(mayHoldTags(drawn.prompt) ? await this.#withTags(drawn) : drawn);
    }
    return orders;
  }

  /** The order with the tags of its prompt as experts of its own: they stood in an alternative. */
  async #withTags(order: DrawOrder): Promise<DrawOrder> {
    const read = await connection.attempt(() => connection.request('readTags', { prompt: order.prompt }));
    if (read === undefined) return order;
    const paths = await this.#pathsOf(read.rows.map(({ name }) => name));
    const pathOf = ({ name }: TagRow): string | undefined =>
      this.#rowCalled(name)?.path ?? paths.find(({ asked }) => asked === name)?.path;
    const missing = read.rows.filter((tag) => pathOf(tag) === undefined);
    if (missing.length > 0) connection.tell(strings.orderTools.tagsMissing(missing.map(({ name }) => name)));
    const own = read.rows.flatMap((tag) => {
      const path = pathOf(tag);
      return path === undefined ? [] : [{ path, ...settingsOf(tag) }];
    });
    const { experts = [], masks = {}, overrides = {}, ...mix } = order.mix ?? {};
    const others = experts.filter(({ path }) => !own.some((expert) => expert.path === path));
    if (own.length === 0) return { ...order, prompt: read.prompt };
    // Masks and values stand in the order of the rows: they hold where the rows are as they were.
    const same = others.length === experts.length;
    const widen = <T>(rows: Readonly<Record<string, readonly T[]>>, value: T): Record<string, T[]> =>
      Object.fromEntries(
        Object.entries(same ? rows : {}).map(([row, list]) => [row, [...list, ...own.map(() => value)]]),
      );
    return {
      ...order,
      prompt: read.prompt,
      mix: {
        ...mix,
        experts: [...others, ...own],
        masks: widen(masks, true),
        overrides: widen<number | null>(overrides, null),
      },
    };
  }

  async #take(text: string): Promise<string> {
    const read: ReadTags = await connection.request('readTags', { prompt: text });
    for (const problem of read.problems) connection.tell(problem);
    const missing: TagRow[] = [];
    const paths = await this.#pathsOf(read.rows.map(({ name }) => name));
    for (const tag of read.rows) {
      const path = paths.find(({ asked }) => asked === tag.name)?.path;
      const there = this.#rowCalled(tag.name);
      const added = there === undefined && path !== undefined ? await this.#add(path) : undefined;
      if (added?.kind === 'refused') connection.tell(added.message);
      const row = there ?? this.#experts.rows.find((other) => other.path === path);
      if (row !== undefined) this.#weigh(row, tag);
      else if (path === undefined) missing.push(tag);
    }
    if (missing.length > 0) {
      const others = this.#order.fields.missing.filter(({ name }) => !missing.some((tag) => tag.name === name));
      this.#order.set({ missing: [...others, ...missing] });
      connection.tell(strings.orderTools.tagsMissing(missing.map(({ name }) => name)));
    }
    return read.prompt;
  }

  /** Where the files of these names lie, as far as they are found. */
  async #pathsOf(names: readonly string[]): Promise<readonly { readonly asked: string; readonly path: string }[]> {
    const wanted = names.filter((name) => this.#rowCalled(name) === undefined);
    if (wanted.length === 0) return [];
    const bundled = wanted.flatMap((asked) => {
      const path = connection.welcome?.bundled.find((file) => stemOf(file) === stemOf(asked));
      return path === undefined ? [] : [{ asked, path }];
    });
    const others = wanted.filter((name) => !bundled.some(({ asked }) => asked === name));
    if (others.length === 0) return bundled;
    // What cannot be looked for counts as not found, which is said.
    const found = await connection.request('findExperts', { names: others }).catch(() => []);
    return [...bundled, ...found];
  }

  #weigh({ path, adapter }: ExpertRow, tag: TagRow): void {
    const { weight, schedule, blocks } = tag;
    const textWeight = adapter.textEncoder && tag.textWeight !== weight ? tag.textWeight : undefined;
    this.#experts.change(path, { weight, schedule, textWeight, blocks, on: true });
    if (blocks !== undefined && this.#experts.mode === 'sum') this.#experts.setMode('manual');
  }

  /** Names of tags may have a folder before them and an ending. */
  #rowCalled(name: string): ExpertRow | undefined {
    return this.#experts.rows.find((row) => stemOf(row.name) === stemOf(name));
  }

  #speaking(): readonly ExpertRow[] {
    const { rows } = this.#experts;
    const anySolo = rows.some(({ solo }) => solo);
    return rows.filter(({ on, solo }) => (anySolo ? solo : on));
  }
}

const texts = ({ prompt, negativePrompt }: { readonly prompt: string; readonly negativePrompt: string }) => ({
  prompt,
  negativePrompt,
});

/** A tag as the settings of an expert. */
const settingsOf = ({ weight, schedule, textWeight, blocks }: TagRow) => ({
  weight: schedule ?? weight,
  textWeight,
  ...(blocks === undefined ? {} : { blocks }),
});

/** What a file or a tag is called, without folders and ending, in lower case. */
const stemOf = (name: string): string =>
  (name.split(/[\\/]/).at(-1) ?? name).replace(/\.safetensors$/i, '').toLowerCase();

/** `word` as a whole in any case, with the bracket that weighs it alone. */
function wherever(word: string): RegExp {
  const literal = word.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  const alone = `(?<![\\p{L}\\p{N}_])${literal}(?![\\p{L}\\p{N}_])`;
  return new RegExp(`\\(\\s*${alone}\\s*(?::\\s*[\\d.]+\\s*)?\\)|${alone}`, 'giu');
}
