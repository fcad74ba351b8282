// The gallery as an artist uses it: pictures drawn and found, searched, loved, restored, compared, exported, deleted and brought
// back. Chromium over `atelier serve`, the real engine and the bundled model.
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import { beforeEach, describe, expect, it } from 'vitest';
import { readMetadata } from '../../src-main/formats/picture-metadata.ts';
import { paintPicture } from '../support/painted-picture.ts';
import type { ServedApp } from '../support/serve-app.ts';
import { hasChromium, patient, useAppPage } from './app-page.ts';

describe.skipIf(!hasChromium('The gallery'))('the gallery', () => {
  const ui = useAppPage({ opensAtOnce: false });
  const { button, prompt, field, seriousFaults } = ui;
  let page: Page;
  let app: ServedApp;
  beforeEach(() => {
    ({ page } = ui);
  });

  const options = (): Locator => page.getByRole('option');
  const details = (): Locator => page.getByRole('region', { name: 'The chosen picture' });
  const search = (text: string): Promise<void> => page.getByRole('searchbox').fill(text);

  /** Opens the gallery on painted pictures, as the command line would have left them; waits until all were found. */
  async function openWith(pictures: readonly Parameters<typeof paintPicture>[1][]): Promise<void> {
    app = await ui.open(async (folder) => {
      for (const [i, picture] of pictures.entries()) {
        await paintPicture(join(folder, `p${i}.png`), { ...picture, date: 1.7e12 + i * 1000 });
      }
    });
    await button('Gallery').click();
    if (pictures.length === 0) return;
    const found = (): Promise<string | null> => page.getByText(/^\d+ pictures?$/).textContent();
    await expect.poll(found, patient).toBe(`${pictures.length} pictures`);
  }

  it('invites to draw when there is nothing, and shows a picture the moment it is finished', async () => {
    await openWith([]);
    await button('Draw the first one').click();
    await prompt().fill('a palm tree');
    await field('Steps').fill('2');
    await page.keyboard.press('Control+Enter');
    await button('Gallery').click();
    await page.getByRole('option', { name: 'a palm tree' }).waitFor(patient);
    await options().first().click();
    await details().getByText('a palm tree', { exact: true }).waitFor(patient);
    await expect.poll(() => details().getByRole('definition').first().textContent()).toBe('DPM++ 2M');
    const shown = await options()
      .first()
      .locator('img')
      .evaluate(async (image: HTMLImageElement) => {
        await image.decode();
        return image.naturalWidth;
      });
    expect(shown).toBe(128);
  });

  it('finds pictures by their words, experts and hearts, and says when none fits', async () => {
    await openWith([
      { prompt: 'a red fox', seed: 1, experts: ['ink'] },
      { prompt: 'a dog', seed: 2, experts: ['sketch'] },
      { prompt: '<img src=x onerror=alert(1)>', seed: 3, experts: ['<b>ink</b>'] },
    ]);
    await search('fox');
    await page.getByText('1 picture', { exact: true }).waitFor();
    await search('zebra');
    await page.getByRole('heading', { name: 'No picture fits' }).waitFor();
    await button('Show all pictures').click();
    await button('sketch').click();
    await page.getByText('1 picture', { exact: true }).waitFor();
    await options().first().click();
    await page.keyboard.press('f');
    await page.getByRole('option', { name: 'a dog, favourite' }).waitFor();
    await button('sketch').click();
    await button('Favourites').click();
    await page.getByText('1 picture', { exact: true }).waitFor();
    await button('Favourites').click();
    await page.getByRole('option', { name: '<img' }).click();
    await details().getByText('<img src=x onerror=alert(1)>', { exact: true }).waitFor();
  });

  it('is walked through with the keyboard: one picture, several, large, and back', async () => {
    await openWith(Array.from({ length: 24 }, (_, i) => ({ prompt: `picture ${i}`, seed: i })));
    await page.getByRole('listbox').focus();
    await page.keyboard.press('ArrowRight');
    await details().getByText('picture 23', { exact: true }).waitFor();
    await page.keyboard.press('ArrowRight');
    await page.keyboard.press('Shift+ArrowRight');
    await details().getByRole('heading', { name: '2 pictures chosen' }).waitFor();
    await page.keyboard.press('Control+a');
    await details().getByRole('heading', { name: '24 pictures chosen' }).waitFor();
    await page.keyboard.press('End');
    await details().getByText('picture 0', { exact: true }).waitFor();
    await page.keyboard.press('Enter');
    await page.keyboard.press('ArrowLeft');
    await page.getByRole('group', { name: 'Show large' }).getByRole('img', { name: 'picture 1' }).waitFor();
    await page.keyboard.press('Escape');
    expect(await page.getByRole('listbox').evaluate((list) => list === document.activeElement)).toBe(true);
  });

  it('puts the settings of a picture back into the form', async () => {
    await openWith([
      { prompt: 'a dog', seed: 77 },
      { prompt: 'a fox', seed: 1 },
    ]);
    await page.getByRole('option', { name: 'a dog' }).click();
    await button('Restore settings').click();
    await expect.poll(() => prompt().inputValue(), patient).toBe('a dog');
    expect(await field('Seed').inputValue()).toBe('77');
  });

  it('compares two pictures and says in what they differ', async () => {
    await openWith([
      { prompt: 'a dog', seed: 7, experts: ['ink'] },
      { prompt: 'a dog', seed: 8, experts: ['ink'] },
    ]);
    await options().first().click();
    await options()
      .nth(1)
      .click({ modifiers: ['Control'] });
    await button('Compare').last().click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('slider').waitFor();
    await expect.poll(() => dialog.getByRole('rowheader').allTextContents()).toEqual(['Seed']);
    expect(await dialog.getByRole('cell').allTextContents()).toEqual(['8', '7']);
  });

  it('exports what is chosen as downloads without a word of the recipe, or into a folder with all of it', async () => {
    await openWith([
      { prompt: 'a dog', seed: 7 },
      { prompt: 'a fox', seed: 8 },
    ]);
    await options().first().click();
    await button('Export…').click();
    const [download] = await Promise.all([page.waitForEvent('download', patient), button('Export').click()]);
    expect(download.suggestedFilename()).toBe('p1.jpg');
    expect((await readMetadata(await download.path())).kind).toBe('none');
    await page.getByText('1 picture exported.').waitFor();
    const folder = mkdtempSync(join(tmpdir(), 'atelier-exported-'));
    await page.getByRole('combobox', { name: 'Format' }).selectOption('webp');
    await page.getByRole('switch', { name: 'With the recipe' }).click();
    await page.getByRole('textbox', { name: 'File name' }).fill('[prompt_words]-[seed]');
    await page.getByRole('combobox', { name: 'Where to' }).selectOption('folder');
    await page.getByRole('textbox', { name: 'Folder' }).fill(folder);
    await button('Export').click();
    await page.getByText(`1 picture exported to ${folder}.`).waitFor(patient);
    expect(readdirSync(folder)).toEqual(['a-fox-8.webp']);
    expect((await readMetadata(join(folder, 'a-fox-8.webp'))).kind).toBe('mole');
    rmSync(folder, { recursive: true });
  });

  it('deletes with the keyboard, brings back with Undo, and empties the trash only when asked twice', async () => {
    await openWith([
      { prompt: 'a dog', seed: 7 },
      { prompt: 'a fox', seed: 8 },
    ]);
    await page.getByRole('option', { name: 'a dog' }).click();
    await page.keyboard.press('Delete');
    await page.getByText('1 picture deleted.').waitFor();
    expect(existsSync(join(app.folder, 'p0.png'))).toBe(false);
    await button('Undo').click();
    await page.getByRole('option', { name: 'a dog' }).waitFor();
    expect(existsSync(join(app.folder, 'p0.png'))).toBe(true);
    await page.getByRole('option', { name: 'a dog' }).click();
    await page.keyboard.press('Delete');
    await button('Dismiss').click();
    await button('Empty trash').click();
    await button('Delete for good').click();
    await expect.poll(() => readdirSync(join(app.folder, '.atelier/trash'))).toEqual([]);
    expect(await options().count()).toBe(1);
  });

  it.each(['light', 'dark'] as const)('has no serious fault of accessibility in %s colours', async (colorScheme) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await openWith(Array.from({ length: 3 }, (_, i) => ({ prompt: `a dog ${i}`, seed: i, experts: ['ink'] })));
    await options().first().click();
    await details().getByText('a dog 2', { exact: true }).waitFor();
    expect(await seriousFaults()).toEqual([]);
    await button('Export…').click();
    expect(await seriousFaults()).toEqual([]);
    await page.keyboard.press('Escape');
    await options()
      .nth(1)
      .click({ modifiers: ['Control'] });
    await button('Compare').last().click();
    await page.getByRole('rowheader', { name: 'Seed' }).waitFor();
    expect(await seriousFaults()).toEqual([]);
  });
});
