// Branch selection made visible, as an artist uses it: modes side by side, two pictures under a line, grids, and the hand on the heat
// map. Chromium over `atelier serve`, the real engine, the bundled model and experts.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { beforeEach, describe, expect, it } from 'vitest';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import type { ServedApp } from '../support/serve-app.ts';
import { hasChromium, pixelsOf, useAppPage } from './app-page.ts';

const expertFolder = resolve(import.meta.dirname, '../../assets/experts');
const files = existsSync(expertFolder) ? readdirSync(expertFolder) : [];
/** A gate whose name lists its experts, and they. */
const gateName = files.find(
  (name) =>
    name.endsWith('.mole.safetensors') &&
    basename(name, '.mole.safetensors')
      .split('-')
      .every((expert) => files.includes(`${expert}.safetensors`)),
);
const experts = gateName === undefined ? [] : basename(gateName, '.mole.safetensors').split('-');
const runs = hasChromium('Comparing') && experts.length > 1;
if (experts.length < 2) console.log(`Comparing was skipped: it needs a gate with its experts in ${expertFolder}.`);

/** Long enough for pictures on a busy machine. */
const drawn = { timeout: 120_000 };

describe.skipIf(!runs)('comparing', { timeout: 300_000 }, () => {
  const ui = useAppPage();
  const { prompt, setField, addExperts, draw, seriousFaults } = ui;
  let page: Page;
  let app: ServedApp;
  beforeEach(async () => {
    ({ page, app } = ui);
    const files = [...experts.map((name) => `${name}.safetensors`), gateName!];
    await addExperts(...files.map((name) => join(expertFolder, name)));
    await page.getByText(/^Trained for/).waitFor();
    await prompt().fill('a fox');
    await setField('Steps', '3');
  });

  const button = (name: string | RegExp): Locator =>
    page.getByRole('main').getByRole('button', { name, ...(typeof name === 'string' ? { exact: true } : {}) });
  const cells = (): Locator => page.getByRole('img', { name: /^Picture: / });

  const show = (view: 'Draw' | 'Compare'): Promise<void> =>
    page.getByRole('banner').getByRole('button', { name: view, exact: true }).click();

  async function finished(count: number): Promise<readonly string[]> {
    await expect.poll(() => cells().count(), drawn).toBe(count);
    const all: string[] = [];
    for (let i = 0; i < count; i++) all.push(await pixelsOf(cells().nth(i)));
    return all;
  }

  it('shows plain sum, normalised sum and gates from one seed, and any two under a line that keys move', async () => {
    await show('Compare');
    await button('Compare').click();
    const pictures = await finished(3);
    expect(new Set(pictures).size).toBe(3);
    expect(await page.getByRole('heading', { level: 3 }).allTextContents()).toEqual([
      'Plain sum',
      'Normalised sum',
      'MoLE gates',
    ]);
    const seeds = await page.getByText(/^seed \d+/).allTextContents();
    expect(new Set(seeds.map((text) => /seed \d+/.exec(text)![0])).size).toBe(1);
    const heat = page.getByRole('img', { name: /^Who spoke where/ });
    await expect.poll(() => heat.count()).toBe(3);
    expect(await heat.first().getAttribute('aria-label')).toContain(`${experts[0]!} 1.00`);

    await button('MoLE gates as B').focus();
    await page.keyboard.press('Enter');
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      expect(await seriousFaults()).toEqual([]);
    }
    await button('A and B').click();
    const line = page.getByRole('slider', { name: 'Line between A and B' });
    await line.focus();
    expect(await line.getAttribute('aria-valuetext')).toBe('50 % A, 50 % B');
    await page.keyboard.press('ArrowRight');
    expect(await line.getAttribute('aria-valuetext')).toBe('51 % A, 49 % B');
    await page.keyboard.press('Home');
    expect(await line.getAttribute('aria-valuetext')).toBe('0 % A, 100 % B');
    expect(await page.getByRole('img', { name: /^B: .*MoLE gates/ }).count()).toBe(1);
    expect(await seriousFaults()).toEqual([]);
  });

  it('draws a grid from one seed, finds it again after a reload, and saves it as one picture with its settings', async () => {
    await show('Compare');
    await button('Grid').click();
    await page.getByRole('combobox', { name: 'Columns', exact: true }).selectOption('weight');
    await page.getByRole('textbox', { name: 'Values of Columns' }).fill('0-1 [2]');
    await page.getByRole('combobox', { name: 'Rows', exact: true }).selectOption('gate');
    await page.getByText('2 × 2 = 4 pictures').waitFor();
    await button('Draw the grid').click();
    const pictures = await finished(4);
    expect(new Set(pictures).size).toBe(4);
    expect(await page.getByRole('columnheader').allTextContents()).toEqual(['0', '1']);
    expect(await page.getByRole('rowheader').allTextContents()).toEqual(['MoLE gates', 'Plain sum']);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await seriousFaults()).toEqual([]);
    await page.reload();
    expect(await finished(4)).toEqual(pictures);
    await button('Save as one picture').click();
    const said = await page.getByText(/^Saved as grid-.*\.png\.$/).textContent(drawn);
    const sheet = join(app.folder, /grid-.*\.png/.exec(said!)![0]);
    const found = await readMetadata(sheet);
    expect(found).toMatchObject({ kind: 'mole', parameters: { prompt: 'a fox' } });
    expect(found).toHaveProperty('mole.sheet.columns', ['0', '1']);
    expect(found).toHaveProperty('mole.sheet.rows', ['MoLE gates', 'Plain sum']);
    const singles = readdirSync(app.folder).filter((name) => name.endsWith('.png') && !name.startsWith('grid-'));
    expect(singles).toHaveLength(4);
  });

  it('counts before it draws, says what is wrong with values, asks before many, and calls a whole grid off', async () => {
    await setField('Steps', '300');
    await show('Compare');
    await button('Grid').click();
    const values = page.getByRole('textbox', { name: 'Values of Columns' });
    await values.fill('1-');
    await page.getByText('“1-” is no number and no range.', { exact: false }).waitFor();
    expect(await button('Draw the grid').isDisabled()).toBe(true);
    await values.fill('1-40');
    await button('Draw the grid').click();
    await page.getByText('120 pictures is a lot', { exact: false }).waitFor();
    expect(await page.getByText('Waiting').count()).toBe(0);
    await values.fill('1, 2');
    await button('Draw the grid').click();
    await page.getByText('Drawing…').waitFor(drawn);
    await button('Cancel all').click();
    await expect.poll(() => page.getByText('Cancelled').count(), drawn).toBe(6);
    await button('Cancel all').waitFor({ state: 'detached' });
  });

  it('takes a gate into the hand: the picture changes, keeps it in its settings, and comes back bit for bit', async () => {
    await setField('Seed', '7');
    const before = await draw();
    const row = (await page.getByRole('rowheader').allTextContents()).at(-1)!;
    const cell = page.getByRole('row', { name: row }).getByRole('button').first();
    await cell.scrollIntoViewIfNeeded();
    const heard = Number(await cell.textContent());
    const box = (await cell.boundingBox())!;
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    await page.mouse.move(x, y);
    await page.mouse.down();
    await page.mouse.move(x, y - 40);
    await page.mouse.move(x, y - 80, { steps: 4 });
    await page.mouse.up();
    const set = Number(await cell.textContent());
    expect(set).toBeCloseTo(Math.min(1, heard + 80 / 140), 1);
    expect(await cell.getAttribute('aria-label')).toContain('set by hand');
    const byHand = await draw();
    expect(byHand).not.toBe(before);
    const [newest] = readdirSync(app.folder)
      .filter((name) => name.endsWith('.png'))
      .map((name) => ({ name, text: readFileSync(join(app.folder, name)).includes('overrides') }))
      .filter(({ text }) => text);
    const found = await readMetadata(join(app.folder, newest!.name));
    expect(found).toHaveProperty(`mole.mix.overrides.${row}`, [set, ...experts.slice(1).map(() => null)]);

    await cell.focus();
    await page.keyboard.press('ArrowDown');
    expect(Number(await cell.textContent())).toBeCloseTo(set - 0.05, 5);
    await page.keyboard.press('Delete');
    expect(await cell.getAttribute('aria-label')).not.toContain('set by hand');
    expect(await draw()).toBe(before);

    await page.getByRole('slider', { name: 'Mean of all steps' }).focus();
    await page.keyboard.press('ArrowRight');
    await page.getByText('Step 1 of 3').waitFor();
    await button('Negative').click();
    expect(await seriousFaults()).toEqual([]);
  });
});
