// The library and the stack as an artist uses them: folders added and searched, tags and favourites, LoRAs stacked, ordered,
// replaced and kept as a recipe. Chromium over `atelier serve`, the real engine and the bundled model.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { beforeEach, describe, expect, it } from 'vitest';
import { bundledFolder, copyLora } from '../support/library-case.ts';
import type { ServedApp } from '../support/serve-app.ts';
import { hasChromium, patient, useAppPage } from './app-page.ts';

const hasExperts = existsSync(join(bundledFolder, 'fox-in-ink.mole.json'));
if (!hasExperts) console.log('The library in a browser was skipped: there are no bundled experts.');

describe.skipIf(!hasChromium('The library') || !hasExperts)('the library', () => {
  const ui = useAppPage();
  const { button, field, setField, seriousFaults } = ui;
  let page: Page;
  let app: ServedApp;
  let loras: string;
  beforeEach(() => {
    ({ page, app } = ui);
    loras = join(app.folder, 'loras');
    copyLora(join(loras, 'styles/Bauhaus.safetensors'), 'ink', {
      'modelspec.tags': 'style, print',
      'modelspec.author': '<img src=x onerror=alert(1)>',
    });
    copyLora(join(loras, 'reynard.safetensors'), 'fox', { 'modelspec.tags': 'subject' });
    copyLora(join(loras, 'chalk.safetensors'), 'sketch', { 'modelspec.tags': 'style' });
    writeFileSync(join(loras, 'old.ckpt'), 'pickled');
  });

  const tile = (name: string): Locator => button(`Add ${name} to the stack`);
  const rows = (): Promise<readonly string[]> =>
    page.getByRole('article').evaluateAll((cards) => cards.map((card) => card.getAttribute('aria-label') ?? ''));

  /** Opens the library and adds the folder; waits until its files have been read. */
  async function openLibrary(): Promise<void> {
    await button('Library').click();
    await page.getByRole('textbox', { name: 'Path of a folder of LoRAs' }).fill(loras);
    await page.keyboard.press('Enter');
    await tile('Bauhaus').waitFor(patient);
    await expect.poll(() => page.getByText(/reading \d+ files?/).count(), patient).toBe(0);
  }

  async function stack(...names: readonly string[]): Promise<void> {
    for (const name of names) {
      await tile(name).dblclick();
      await page.getByRole('article', { name, exact: true }).waitFor(patient);
    }
  }

  it('finds files by tag, word and kind, with pictures, and shows what it refuses and why', async () => {
    await openLibrary();
    await button('print').click();
    await page.getByText('1 of', { exact: false }).waitFor();
    expect(await page.getByRole('button', { name: /^Add .* to the stack$/ }).count()).toBe(1);
    await button('print').click();
    await page.getByRole('searchbox').fill('onerror');
    await tile('Bauhaus').waitFor();
    await page.getByRole('searchbox').fill('penguin');
    const picture = page
      .getByRole('listitem')
      .filter({ has: tile('penguin') })
      .locator('img');
    await expect
      .poll(() => picture.evaluate((image: HTMLImageElement) => image.naturalWidth), patient)
      .toBeGreaterThan(32);
    await page.getByRole('searchbox').fill('zebra');
    await button('Clear the search').click();
    await page.getByRole('combobox', { name: 'Kind' }).selectOption('Refused');
    await page.getByText('can run code when they are read').waitFor();
    expect(await tile('old').getAttribute('aria-disabled')).toBe('true');
  });

  it('keeps tags and favourites over a reload, and notices a file that comes', async () => {
    await openLibrary();
    await tile('chalk').hover();
    await button('chalk is a favourite').click();
    await button('Details of chalk').click();
    await page.getByRole('textbox', { name: 'My tags, between commas' }).fill('for portraits, soft');
    await page.getByRole('textbox', { name: 'My notes' }).fill('weight 0.6');
    await button('Save').click();
    await page.reload();
    await button('for portraits').waitFor(patient);
    await page.getByRole('switch', { name: 'Only favourites' }).click();
    await tile('chalk').waitFor();
    expect(await page.getByRole('button', { name: /^Add .* to the stack$/ }).count()).toBe(1);
    await page.getByRole('switch', { name: 'Only favourites' }).click();
    copyLora(join(loras, 'late.safetensors'), 'ink');
    await tile('late').waitFor(patient);
  });

  it('stacks by double click, Enter and drag; rows are ordered by key and mouse, removed and brought back', async () => {
    await openLibrary();
    await stack('reynard');
    await tile('chalk').focus();
    await page.keyboard.press('Enter');
    await page.getByRole('article', { name: 'chalk' }).waitFor(patient);
    await tile('Bauhaus').dragTo(page.getByRole('region', { name: 'Experts' }));
    await page.getByRole('article', { name: 'Bauhaus' }).waitFor(patient);
    expect(await rows()).toEqual(['reynard', 'chalk', 'Bauhaus']);
    await page.getByRole('button', { name: /^Move Bauhaus/ }).focus();
    await page.keyboard.press('Alt+ArrowUp');
    await page.keyboard.press('Alt+ArrowUp');
    expect(await rows()).toEqual(['Bauhaus', 'reynard', 'chalk']);
    await page.getByRole('button', { name: /^Move Bauhaus/ }).dragTo(page.getByRole('article', { name: 'chalk' }));
    expect(await rows()).toEqual(['reynard', 'chalk', 'Bauhaus']);
    await setField('Weight of chalk, number', '0.4');
    await button('Remove chalk').click();
    expect(await rows()).toEqual(['reynard', 'Bauhaus']);
    await button('Undo').click();
    expect(await rows()).toEqual(['reynard', 'chalk', 'Bauhaus']);
    expect(await field('Weight of chalk, number').inputValue()).toBe('0.4');
  });

  it('replaces a file in its place, takes block weights, and says when a file has gone', async () => {
    await openLibrary();
    await stack('reynard', 'chalk');
    await setField('Weight of reynard, number', '0.7');
    await button('Report card of reynard').click();
    const chooser = page.waitForEvent('filechooser');
    await button('Replace the file of reynard').click();
    await (await chooser).setFiles(join(bundledFolder, 'castle.safetensors'));
    await page.getByRole('article', { name: 'castle' }).waitFor(patient);
    expect(await rows()).toEqual(['castle', 'chalk']);
    expect(await field('Weight of castle, number').inputValue()).toBe('0.7');
    await page.getByRole('combobox', { name: 'Block weights' }).selectOption('OUTALL');
    await page.getByRole('img', { name: 'Strength from the text encoder' }).waitFor();
    expect(await page.getByRole('combobox', { name: 'How they are mixed' }).inputValue()).toBe('manual');
    await page.getByRole('combobox', { name: 'Block weights' }).selectOption('Own numbers');
    const own = page.getByRole('textbox', { name: 'Own block weights (LBW)' });
    await own.fill('1,0,1');
    await page.keyboard.press('Tab');
    await page.getByText('17 or 26 numbers between commas, not 3').waitFor();
    rmSync(join(loras, 'chalk.safetensors'));
    await page.getByText('Its file is not there any more.').waitFor(patient);
    copyLora(join(loras, 'moved/chalk.safetensors'), 'sketch');
    await tile('chalk').waitFor(patient);
    await button('Look for it').click();
    await expect.poll(() => page.getByText('Its file is not there any more.').count(), patient).toBe(0);
  });

  it('saves the stack as a recipe, and loads it with what is missing named; bundled ones bring their gate', async () => {
    await openLibrary();
    await stack('reynard', 'Bauhaus');
    await setField('Weight of Bauhaus, number', '0.3');
    await button('Recipes').click();
    await page.getByRole('textbox', { name: 'Name of the recipe' }).fill('Fox on a poster');
    await button('Save the stack').click();
    await page.getByText('Saved as Fox on a poster.').waitFor(patient);
    expect(readdirSync(join(app.folder, 'recipes'))).toEqual(['Fox on a poster.mole.json']);
    const text = readFileSync(join(app.folder, 'recipes/Fox on a poster.mole.json'), 'utf8');
    expect(text).not.toContain(app.folder);
    await page.getByRole('button', { name: /^fox-in-ink / }).click();
    await page.getByText(/^Trained for/).waitFor(patient);
    expect(await rows()).toEqual(['fox', 'ink']);
    expect(await page.getByRole('combobox', { name: 'How they are mixed' }).inputValue()).toBe('mole');
    rmSync(join(loras, 'reynard.safetensors'));
    await expect.poll(() => tile('reynard').count(), patient).toBe(0);
    // What has the same content counts as the file: the bundled fox differs in its metadata.
    await button('Recipes').click();
    await page.getByRole('button', { name: /^Fox on a poster / }).click();
    await page.getByRole('alert').getByText(/reynard\.safetensors \(SHA-256 [0-9a-f]{12}…\)/).waitFor(patient); // prettier-ignore
    expect(await rows()).toEqual(['Bauhaus']);
    expect(await field('Weight of Bauhaus, number').inputValue()).toBe('0.3');
    await button('Undo').click();
    expect(await rows()).toEqual(['fox', 'ink']);
  });

  it('offers what came with the app at the first start', async () => {
    await page.getByText('Try the bundled experts').waitFor();
    await page.getByRole('button', { name: /^Castle at dusk/i }).click();
    await page.getByText(/^Trained for/).waitFor(patient);
    expect(await rows()).toEqual(['castle', 'dusk']);
    // The gate brings its shares of the unguided branch; in a sum there are none.
    await page.getByText('Unguided share: 0.56 and 0.63').waitFor();
    const castle = page.getByRole('article', { name: 'castle', exact: true });
    await castle.getByText('heard as a subject').waitFor();
    await castle.getByRole('button', { name: /^Move castle/ }).press('Alt+ArrowDown');
    await castle.getByText('heard as a style').waitFor();
    await castle.getByRole('button', { name: /^Move castle/ }).press('Alt+ArrowUp');
    await button('Remove dusk').click();
    await page.getByText('Still needs a style').waitFor();
    await button('Report card of castle').click();
    const share = field('Unguided share of castle');
    expect(await share.getAttribute('placeholder')).toBe('0.56');
    expect(await share.inputValue()).toBe('');
    await page.getByRole('combobox', { name: 'How they are mixed' }).selectOption('sum');
    expect(await share.getAttribute('placeholder')).toBe('1');
  });

  it.each(['light', 'dark'] as const)('has no serious fault of accessibility in %s colours', async (colorScheme) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await openLibrary();
    await stack('reynard');
    await button('Report card of reynard').click();
    await page.getByRole('combobox', { name: 'Block weights' }).selectOption('INS');
    expect(await seriousFaults()).toEqual([]);
    await button('Recipes').click();
    expect(await seriousFaults()).toEqual([]);
    await page.keyboard.press('Escape');
    await tile('chalk').hover();
    await button('Details of chalk').click();
    await page.getByRole('textbox', { name: 'My notes' }).waitFor();
    expect(await seriousFaults()).toEqual([]);
  });
});
