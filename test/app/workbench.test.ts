// The workbench as an artist uses it: the built interface in Chromium over `atelier serve`, the real engine and the bundled
// model. Skipped, with the reason, where there is no Chromium ($ATELIER_CHROMIUM, by default /usr/bin/chromium).
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import type { Page } from 'playwright-core';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ServedApp } from '../support/serve-app.ts';
import { hasChromium, patient, pixelsOf, useAppPage } from './app-page.ts';

const runs = hasChromium('The workbench');
const expertFolder = resolve(import.meta.dirname, '../../assets/experts');
const bundled = existsSync(expertFolder)
  ? readdirSync(expertFolder).filter((name) => name.endsWith('.safetensors'))
  : [];
/** The ones that “Add the bundled experts” adds: those of the gate for three LoRAs. */
const gateName = 'fox-ink-sketch.mole.safetensors';
const loraNames = basename(gateName, '.mole.safetensors').split('-');
const hasExperts = [gateName, ...loraNames.map((name) => `${name}.safetensors`)].every((name) =>
  bundled.includes(name),
);
if (runs && !hasExperts) console.log(`The experts of the workbench were skipped: ${expertFolder} has none.`);

describe.skipIf(!runs)('the workbench', () => {
  const ui = useAppPage();
  const { button, prompt, setField, picture, thumbnails, draw, drop, addExperts } = ui;
  let page: Page;
  let app: ServedApp;
  beforeEach(() => {
    ({ page, app } = ui);
  });

  it('leads from the first start to a picture in two clicks, with previews on the way', async () => {
    await button('a red apple, noto style').click();
    await page.getByText('7/75').waitFor();
    await button('Generate').click();
    await page.getByRole('img', { name: 'Preview of the drawing under way' }).waitFor(patient);
    await page.getByText(/^Step \d+ of 20 · about \d+ s left$/).waitFor(patient);
    expect(await page.title()).toMatch(/^\d+ % · (\d+ s left · )?MoLE Atelier$/);
    await picture().waitFor(patient);
    expect(await pixelsOf(picture())).toMatch(/^128x128:/);
    expect(await page.title()).toBe('MoLE Atelier');
    const [file] = readdirSync(app.folder).filter((name) => name.endsWith('.png'));
    expect(file).toContain('a-red-apple');
  });

  it('draws the same picture again with the reused seed, and remembers the form and the pictures over a reload', async () => {
    await prompt().fill('a dog');
    await setField('Steps', '3');
    const first = await draw();
    await button('Reuse the seed of the picture shown').click();
    expect(await draw()).toBe(first);
    await page.reload();
    await expect.poll(() => thumbnails().count()).toBe(2);
    expect(await prompt().inputValue()).toBe('a dog');
    expect(page.url()).not.toContain(app.token);
  });

  it('cancels within a step and draws on', async () => {
    await prompt().fill('a dog');
    // Typed and not yet left: it counts all the same.
    await ui.field('Steps').fill('500');
    await page.keyboard.press('Control+Enter');
    await page.getByText(/^Step \d+ of 500/).waitFor(patient);
    await button('Cancel').click();
    await page.getByText('Cancelled').waitFor();
    await setField('Steps', '2');
    await draw();
  });

  it('says what is wrong with a dropped file, and adds nothing', async () => {
    await drop({ name: 'broken.safetensors', bytes: Buffer.from('this is no tensor at all') });
    await expect.poll(() => page.getByRole('alert').textContent()).toContain('broken.safetensors was not added.');
    await button('Dismiss').click();
    await drop({ name: 'holiday.exe', bytes: Buffer.from('MZ') });
    await expect
      .poll(() => page.getByRole('alert').textContent())
      .toContain('holiday.exe is nothing that can be used here');
    expect(await page.getByRole('article').count()).toBe(0);
  });

  it('asks for the link when it is opened without its token', async () => {
    const stranger = await page.context().browser()!.newPage();
    await stranger.goto(`http://127.0.0.1:${app.port}/`);
    await stranger.getByText('This page needs the link').waitFor();
    await stranger.close();
  });

  it.each(['light', 'dark'] as const)('has no serious fault of accessibility in %s colours', async (colorScheme) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await prompt().fill('a dog');
    await setField('Steps', '2');
    if (hasExperts) {
      await button('Add the bundled experts').click();
      await page.getByText(/^Trained for/).waitFor();
      await button(`Report card of ${loraNames[0]!}`).click();
    }
    await draw();
    expect(await ui.seriousFaults()).toEqual([]);
  });

  describe.skipIf(!hasExperts)('with experts', () => {
    it('adds a dropped LoRA with what it is, once', async () => {
      const bytes = readFileSync(join(expertFolder, `${loraNames[0]!}.safetensors`));
      await drop({ name: 'dropped.safetensors', bytes });
      const card = page.getByRole('article', { name: 'dropped' });
      await card.getByText(/rank \d+ · \d+ layers/).waitFor();
      await card.getByRole('button', { name: 'Report card of dropped' }).click();
      await card.getByText('LoRA', { exact: true }).waitFor();
    });

    it('draws as if a muted expert were not there, and as before when it is heard again', async () => {
      await addExperts(...loraNames.slice(0, 2).map((name) => join(expertFolder, `${name}.safetensors`)));
      for (const name of loraNames.slice(0, 2)) await page.getByRole('article', { name, exact: true }).waitFor();
      await prompt().fill('a fox');
      await setField('Steps', '4');
      await setField('Seed', '7');
      const speaks = page.getByRole('switch', { name: `${loraNames[1]!} speaks` });
      const both = await draw();
      await speaks.click();
      const muted = await draw();
      expect(muted).not.toBe(both);
      await speaks.click();
      expect(await draw()).toBe(both);
      await button(`Remove ${loraNames[1]!}`).click();
      expect(await draw()).toBe(muted);
    });

    it('shows who spoke where, and silences an expert in one block', async () => {
      await button('Add the bundled experts').click();
      await page.getByText(/^Trained for/).waitFor();
      await prompt().fill('a fox');
      await setField('Steps', '4');
      await setField('Seed', '7');
      const all = await draw();
      const [row] = await page.getByRole('rowheader').allTextContents();
      const cells = page.getByRole('row', { name: row! }).getByRole('button');
      expect(await cells.count()).toBe(loraNames.length);
      const values = (await cells.allTextContents()).map(Number);
      expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(1, 1);
      await cells.first().click();
      const silenced = await draw();
      expect(silenced).not.toBe(all);
      await button('Let everyone speak').click();
      expect(await draw()).toBe(all);
    });
  });
});
