// The tools of the prompt as an artist uses them: the built interface in Chromium over `atelier serve`, the real engine and the
// bundled model. Skipped, with the reason, where there is no Chromium ($ATELIER_CHROMIUM, by default /usr/bin/chromium).
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { beforeEach, describe, expect, it } from 'vitest';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import type { ServedApp } from '../support/serve-app.ts';
import { hasChromium, patient, useAppPage } from './app-page.ts';

const runs = hasChromium('The tools of the prompt');
const root = resolve(import.meta.dirname, '../..');
const hasExperts = ['ink', 'fox'].every((name) => existsSync(join(root, 'assets/experts', `${name}.safetensors`)));
if (runs && !hasExperts) console.log('Tags of the prompt were skipped: there are no bundled experts.');

describe.skipIf(!runs)('the prompt', () => {
  const ui = useAppPage();
  const { button, prompt, setField, alerts, addExperts } = ui;
  let page: Page;
  let app: ServedApp;
  beforeEach(() => {
    ({ page, app } = ui);
  });

  const model = (): Locator => page.getByRole('combobox', { name: 'Model', exact: true });

  async function paste(field: Locator, text: string): Promise<void> {
    await field.focus();
    await field.evaluate((element, pasted) => {
      const clipboardData = new DataTransfer();
      clipboardData.setData('text/plain', pasted);
      element.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
    }, text);
  }

  /** Presses Generate and waits until there are `count` pictures; returns what each says of itself, oldest first. */
  async function draw(count: number): Promise<readonly Readonly<Record<string, unknown>>[]> {
    await page.getByRole('button', { name: /^(Generate|Add to queue)$/ }).click();
    const files = (): readonly string[] => readdirSync(app.folder).filter((name) => name.endsWith('.png'));
    const outcome = async (): Promise<readonly unknown[]> => [files().length, ...(await alerts())];
    await expect.poll(outcome, patient).toEqual([count]);
    // Names tell seconds, and two drawings can be of one.
    const ages = new Map(files().map((name) => [name, statSync(join(app.folder, name)).mtimeMs]));
    const oldestFirst = files().toSorted((a, b) => ages.get(a)! - ages.get(b)!);
    const all = await Promise.all(oldestFirst.map((name) => readMetadata(join(app.folder, name))));
    return all.map((found) => {
      if (found.kind !== 'mole') throw new Error(`The picture has ${found.kind} metadata.`);
      return (found.mole as { readonly settings: Readonly<Record<string, unknown>> }).settings;
    });
  }

  it('weighs words by keys, and takes every step back with Ctrl+Z', async () => {
    await prompt().click();
    await page.keyboard.type('a red fox');
    for (let i = 0; i < 4; i++) await page.keyboard.press('ArrowLeft');
    await page.keyboard.press('Control+ArrowUp');
    expect(await prompt().inputValue()).toBe('a (red:1.1) fox');
    await page.keyboard.press('Control+ArrowUp');
    expect(await prompt().inputValue()).toBe('a (red:1.2) fox');
    await page.keyboard.press('Control+ArrowDown');
    await page.keyboard.press('Control+ArrowDown');
    expect(await prompt().inputValue()).toBe('a red fox');
    await page.keyboard.press('Control+z');
    await page.keyboard.press('Control+z');
    expect(await prompt().inputValue()).toBe('a (red:1.2) fox');
    await page.keyboard.press('Control+Shift+z');
    expect(await prompt().inputValue()).toBe('a (red:1.1) fox');
    for (let i = 0; i < 9; i++) await page.keyboard.press('Control+z');
    expect(await prompt().inputValue()).toBe('');

    const negative = page.getByRole('textbox', { name: 'Negative prompt' });
    await negative.click();
    await page.keyboard.type('blue');
    await page.keyboard.press('Control+ArrowDown');
    expect(await negative.inputValue()).toBe('(blue:0.9)');
    await page.getByText('1/75', { exact: true }).waitFor();
  });

  it('draws alternatives and words of lists by the seed, and writes down what they were drawn from', async () => {
    mkdirSync(join(app.folder, 'wildcards'));
    writeFileSync(join(app.folder, 'wildcards', 'mine.txt'), '# pets\ndog\ncat\nwolf\n');
    const template = 'a __mine__, {noto|twemoji|fluent|emojione} style';
    await prompt().fill(template);
    await page.getByText('12 combinations.').waitFor();
    await setField('Steps', '1');
    await setField('Seed', '11');
    await setField('Pictures', '3');
    const settings = await draw(3);
    for (const { prompt: text } of settings) expect(text).toMatch(/^a (dog|cat|wolf), \w+ style$/);
    expect(settings.map(({ seed }) => seed).sort()).toEqual([11, 12, 13]);
    expect(settings[0]!['template']).toEqual({ prompt: template, negativePrompt: '' });
    await setField('Pictures', '1');
    await setField('Seed', '12');
    const again = (await draw(4)).filter(({ seed }) => seed === 12).map(({ prompt: text }) => text);
    expect(new Set(again).size).toBe(1);
    expect(again).toHaveLength(2);
    expect(await prompt().inputValue()).toBe(template);
  });

  it('draws all combinations, and says which list is missing instead of drawing', async () => {
    await prompt().fill('a {red|green} apple, {noto|fluent} style');
    await page.getByText('4 combinations.').waitFor();
    await page.getByRole('combobox', { name: 'Alternatives' }).selectOption('All combinations');
    await setField('Steps', '1');
    await setField('Seed', '5');
    const settings = await draw(4);
    expect(settings.map(({ prompt: text }) => text).sort()).toEqual([
      'a green apple, fluent style',
      'a green apple, noto style',
      'a red apple, fluent style',
      'a red apple, noto style',
    ]);
    expect(settings.every(({ seed }) => seed === 5)).toBe(true);
    await prompt().fill('a __flower__');
    await page.getByText(/There is no list called flower/).waitFor();
    await button('Generate').click();
    await expect.poll(alerts, patient).toHaveLength(1);
    expect(readdirSync(app.folder).filter((name) => name.endsWith('.png'))).toHaveLength(4);
  });

  it('gives ideas of what the model knows, which can be undone', async () => {
    await prompt().fill('mine');
    await button('Inspire me').click();
    await expect.poll(() => prompt().inputValue(), patient).toMatch(/^[a-z -]+, (noto|twemoji|fluent|emojione) style$/);
    await prompt().focus();
    await page.keyboard.press('Control+z');
    expect(await prompt().inputValue()).toBe('mine');
    await button('Word lists').click();
    await button('Add a word of the list style: 4 entries, such as noto style, twemoji style, fluent style').click();
    expect(await prompt().inputValue()).toBe('mine, __style__');
  });

  it('draws with a model of a folder that the artist names, and remembers it', async () => {
    const folder = join(app.folder, 'models');
    cpSync(join(root, 'models/atelier-mini'), join(folder, 'copy'), { recursive: true });
    await expect
      .poll(() => model().locator('option:checked').textContent(), patient)
      .toBe('atelier-mini (came with the app)');
    await button('Model folders and files').click();
    await page.getByRole('textbox', { name: 'Folder of models' }).fill(folder);
    await button('Add folder').click();
    await expect
      .poll(() => model().locator('option').allTextContents(), patient)
      .toEqual(['atelier-mini (came with the app)', 'copy']);
    await model().selectOption('copy');
    await prompt().fill('a dog');
    await setField('Steps', '1');
    await draw(1);
    const [name] = readdirSync(app.folder).filter((file) => file.endsWith('.png'));
    expect(readFileSync(join(app.folder, name!)).toString('latin1')).toContain('Model: copy');
    await page.reload();
    await expect.poll(() => model().locator('option:checked').textContent(), patient).toBe('copy');
    await button('Model folders and files').click();
    await page.getByRole('textbox', { name: 'Path of a model' }).fill(join(root, 'README.md'));
    await button('Open').click();
    await expect.poll(alerts, patient).toHaveLength(1);
    await button('Dismiss').click();
    await button(`Take ${folder} off the list`).click();
    await expect.poll(() => page.getByRole('list', { name: 'Model folders' }).count(), patient).toBe(0);
  });

  it('puts settings back to their defaults, and keeps the prompt', async () => {
    await prompt().fill('a dog');
    await setField('Steps', '3');
    await page.getByRole('combobox', { name: 'Size', exact: true }).selectOption('Portrait, 128 × 192');
    expect(await page.getByRole('spinbutton', { name: 'Height' }).inputValue()).toBe('192');
    await page.getByText('More', { exact: true }).click();
    await setField('Clip skip', '2');
    await button('Reset to defaults').click();
    expect(await page.getByRole('spinbutton', { name: 'Steps' }).inputValue()).toBe('20');
    expect(await page.getByRole('spinbutton', { name: 'Height' }).inputValue()).toBe('');
    expect(await page.getByRole('spinbutton', { name: 'Clip skip' }).inputValue()).toBe('1');
    expect(await prompt().inputValue()).toBe('a dog');
  });

  it('has no serious fault of accessibility with everything unfolded', async () => {
    await prompt().fill('a {red|green} apple');
    await button('Word lists').click();
    await button('Model folders and files').click();
    await page.getByText('More', { exact: true }).click();
    await page.getByText('2 combinations.').waitFor();
    expect(await ui.seriousFaults()).toEqual([]);
  });

  describe.skipIf(!hasExperts)('with tags', () => {
    const card = (name: string): Locator => page.getByRole('article', { name, exact: true });

    it('makes rows of pasted tags, and shows those whose file is missing until it comes', async () => {
      await paste(prompt(), 'a dog, <lora:ink:0.6>, <lora:nowhere:0.7>, night');
      await expect.poll(() => prompt().inputValue(), patient).toBe('a dog, night');
      await card('ink').waitFor();
      expect(await page.getByRole('spinbutton', { name: 'Weight of ink, number' }).inputValue()).toBe('0.6');
      await expect.poll(alerts, patient).toEqual([expect.stringContaining('Not found: nowhere.')]);
      await button('Dismiss').click();
      await page.reload();
      const missing = page.getByRole('button', { name: /^nowhere is missing/ });
      await missing.waitFor();
      const file = join(app.folder, 'nowhere.safetensors');
      cpSync(join(root, 'assets/experts/fox.safetensors'), file);
      await addExperts(file);
      await card('nowhere').waitFor();
      await expect.poll(() => missing.count(), patient).toBe(0);
      expect(await page.getByRole('spinbutton', { name: 'Weight of nowhere, number' }).inputValue()).toBe('0.7');
    });

    it('takes typed tags when it draws, those in alternatives for their picture alone, and offers trigger words', async () => {
      await prompt().fill('a dog <lora:ink:0.5>, {<lora:fox:0.4>|}');
      await page.getByRole('combobox', { name: 'Alternatives' }).selectOption('All combinations');
      await setField('Steps', '1');
      await draw(2);
      expect(await prompt().inputValue()).toBe('a dog {<lora:fox:0.4>|}');
      expect(await page.getByRole('article').count()).toBe(1);
      const stacks = readdirSync(app.folder)
        .filter((name) => name.endsWith('.png'))
        .map(
          (name) => /Lora hashes: "([^"]*)"/.exec(readFileSync(join(app.folder, name)).toString('latin1'))?.[1] ?? '',
        );
      expect(stacks.map((text) => text.replace(/: \w+/g, '')).sort()).toEqual(['ink', 'ink, fox']);
      const chip = page.getByRole('button', { name: 'Add “ink style”, which wakes ink' });
      await chip.click();
      expect(await prompt().inputValue()).toMatch(/, ink style$/);
      await button('Take “ink style” out of the prompt').click();
      expect(await prompt().inputValue()).not.toContain('ink style');
      await prompt().fill('a house, (Ink style:1.2), night');
      await button('Take “ink style” out of the prompt').click();
      expect(await prompt().inputValue()).toBe('a house, night');
    });
  });
});
