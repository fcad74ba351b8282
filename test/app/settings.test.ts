// Settings, help and the tour, as an artist finds them: the built interface in Chromium over `atelier serve`.
import { readdirSync } from 'node:fs';
import type { Page } from 'playwright-core';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ServedApp } from '../support/serve-app.ts';
import { hasChromium, patient, useAppPage } from './app-page.ts';

describe.skipIf(!hasChromium('Settings and help'))('settings and help', () => {
  const ui = useAppPage();
  const { button, prompt, field, seriousFaults } = ui;
  let page: Page;
  let app: ServedApp;
  beforeEach(() => {
    ({ page, app } = ui);
  });

  it('write new pictures as they say, for every window, and are still there after a reload', async () => {
    await button('Settings and help').click();
    await page.getByRole('combobox', { name: 'File format' }).selectOption('webp');
    await page.getByRole('textbox', { name: 'File name' }).fill('mine-[seed]');
    await page.keyboard.press('Tab');
    await page.reload();
    await button('Settings and help').click();
    await expect.poll(() => page.getByRole('textbox', { name: 'File name' }).inputValue()).toBe('mine-[seed]');
    await page.keyboard.press('Escape');
    await prompt().fill('a dog');
    await field('Steps').fill('2');
    await field('Seed').fill('7');
    await page.keyboard.press('Control+Enter');
    await page.getByRole('button', { name: /^Show a dog/ }).waitFor(patient);
    expect(readdirSync(app.folder)).toContain('mine-7.webp');
  });

  it('give diagnostics as text to copy, and the version', async () => {
    await button('Settings and help').click();
    await button('Copy diagnostics').click();
    const text = page.getByRole('textbox', { name: /^Diagnostics/ });
    await expect.poll(() => text.inputValue(), patient).toContain('MoLE Atelier');
    expect(await text.inputValue()).toMatch(/^Device/m);
  });

  it.each(['light', 'dark'] as const)('have no serious fault of accessibility in %s colours', async (colorScheme) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await button('Settings and help').click();
    expect(await seriousFaults()).toEqual([]);
  });

  it('lead through the app in one tour that draws with the bundled experts', async () => {
    await button('Take the tour (one minute)').click();
    const tour = page.getByRole('dialog', { name: 'Tour' });
    await tour.getByText('1 of 7').waitFor();
    await tour.getByRole('button', { name: 'Add them' }).click();
    await tour.getByText('2 of 7').waitFor(patient);
    expect(await page.getByRole('article').count()).toBe(2);
    await tour.getByRole('button', { name: 'Write a prompt and draw' }).click();
    await tour.getByText('3 of 7').waitFor();
    await page.getByRole('button', { name: /^Show a fox, ink style/ }).waitFor(patient);
    await page.getByRole('region', { name: 'Experts' }).getByRole('heading', { name: 'Who spoke where' }).waitFor();
    for (const place of [4, 5, 6, 7]) {
      await tour.getByRole('button', { name: 'Next' }).click();
      await tour.getByText(`${place} of 7`).waitFor();
    }
    await tour.getByRole('button', { name: 'Show the gallery' }).click();
    expect(await button('Gallery').getAttribute('aria-current')).toBe('page');
    await tour.getByRole('button', { name: 'Done' }).click();
    expect(await tour.count()).toBe(0);
  });
});
