// Settings, help and the tour, as an artist finds them: the built interface in Chromium over `atelier serve`.
import { existsSync, readdirSync } from 'node:fs';
import axe from 'axe-core';
import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { serveApp, type ServedApp } from '../support/serve-app.ts';

const executablePath = process.env['ATELIER_CHROMIUM'] ?? '/usr/bin/chromium';
const hasChromium = existsSync(executablePath);
if (!hasChromium) console.log(`Settings in a browser were skipped: there is no ${executablePath}.`);

describe.skipIf(!hasChromium)('settings and help', () => {
  let browser: Browser;
  let app: ServedApp;
  let page: Page;
  beforeAll(async () => {
    browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  });
  afterAll(async () => {
    await browser.close();
  });
  beforeEach(async () => {
    app = await serveApp();
    page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
    await page.goto(app.link);
    await page.getByRole('heading', { name: 'Experts', exact: true }).waitFor();
  });
  afterEach(async () => {
    await page.close();
    expect(await app.stop()).toBe(0);
  });

  const button = (name: string) => page.getByRole('button', { name, exact: true });

  it('write new pictures as they say, for every window, and are still there after a reload', async () => {
    await button('Settings and help').click();
    await page.getByRole('combobox', { name: 'File format' }).selectOption('webp');
    await page.getByRole('textbox', { name: 'File name' }).fill('mine-[seed]');
    await page.keyboard.press('Tab');
    await page.reload();
    await button('Settings and help').click();
    await expect.poll(() => page.getByRole('textbox', { name: 'File name' }).inputValue()).toBe('mine-[seed]');
    await page.keyboard.press('Escape');
    await page.getByRole('textbox', { name: 'Prompt', exact: true }).fill('a dog');
    await page.getByRole('spinbutton', { name: 'Steps', exact: true }).fill('2');
    await page.getByRole('spinbutton', { name: 'Seed', exact: true }).fill('7');
    await page.keyboard.press('Control+Enter');
    await page.getByRole('button', { name: /^Show a dog/ }).waitFor({ timeout: 50_000 });
    expect(readdirSync(app.folder)).toContain('mine-7.webp');
  });

  it('give diagnostics as text to copy, and the version', async () => {
    await button('Settings and help').click();
    await button('Copy diagnostics').click();
    const text = page.getByRole('textbox', { name: /^Diagnostics/ });
    await expect.poll(() => text.inputValue(), { timeout: 20_000 }).toContain('MoLE Atelier');
    expect(await text.inputValue()).toMatch(/^Device/m);
  });

  it.each(['light', 'dark'] as const)('have no serious fault of accessibility in %s colours', async (colorScheme) => {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await button('Settings and help').click();
    await page.evaluate(axe.source);
    const found = await page.evaluate(async () => {
      const { violations } = await (globalThis as unknown as { readonly axe: typeof axe }).axe.run();
      return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id }) => id);
    });
    expect(found).toEqual([]);
  });

  it('lead through the app in one tour that draws with the bundled experts', async () => {
    await button('Take the tour (one minute)').click();
    const tour = page.getByRole('dialog', { name: 'Tour' });
    await tour.getByText('1 of 7').waitFor();
    await tour.getByRole('button', { name: 'Add them' }).click();
    await tour.getByText('2 of 7').waitFor({ timeout: 20_000 });
    expect(await page.getByRole('article').count()).toBe(2);
    await tour.getByRole('button', { name: 'Write a prompt and draw' }).click();
    await tour.getByText('3 of 7').waitFor();
    await page.getByRole('button', { name: /^Show a fox, ink style/ }).waitFor({ timeout: 50_000 });
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
