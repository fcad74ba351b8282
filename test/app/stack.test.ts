// The stack over time: orders in the queue keep the stack they were ordered with, and a reload brings it back.
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hasChromium, patient, pixelsOf, useAppPage } from './app-page.ts';

const folder = resolve(import.meta.dirname, '../../assets/experts');
const files = ['fox', 'ink', 'sketch'].map((name) => join(folder, `${name}.safetensors`));
const hasExperts = files.every((file) => existsSync(file));
if (!hasExperts) console.log(`The stack in a browser was skipped: ${folder} lacks a bundled expert.`);

describe.skipIf(!hasChromium('The stack') || !hasExperts)('the stack', () => {
  const ui = useAppPage();
  const { button, prompt, setField, addExperts, draw, thumbnails, picture } = ui;
  const speaks = (name: string) => ui.page.getByRole('switch', { name: `${name} speaks` });

  it('a branch muted while orders wait is heard in those, and not in later ones', async () => {
    await addExperts(files[0]!, files[1]!);
    await ui.page.getByRole('article', { name: 'ink', exact: true }).waitFor();
    await prompt().fill('a fox');
    await setField('Steps', '3');
    await setField('Seed', '7');
    const both = await draw();
    await button('Generate').click();
    await ui.page.keyboard.press('Control+Enter');
    await speaks('ink').click();
    await ui.page.keyboard.press('Control+Enter');
    await expect.poll(() => thumbnails().count(), patient).toBe(4);
    const drawn: string[] = [];
    for (const place of [0, 1, 2]) {
      await thumbnails().nth(place).click();
      drawn.push(await pixelsOf(picture()));
    }
    // The newest comes first.
    expect(drawn[0]).not.toBe(both);
    expect(drawn.slice(1)).toEqual([both, both]);
  });

  it('is there again after a reload, with weights and switches, and says which file has gone', async () => {
    const copy = join(ui.app.folder, 'mine.safetensors');
    copyFileSync(files[0]!, copy);
    await addExperts(copy, files[1]!, files[2]!);
    await ui.page.getByRole('article', { name: 'sketch', exact: true }).waitFor();
    await speaks('ink').click();
    await ui.page.getByRole('spinbutton', { name: 'Weight of sketch, number' }).fill('0.4');
    await ui.page.keyboard.press('Tab');
    await ui.page.reload();
    await ui.page.getByRole('article', { name: 'sketch', exact: true }).waitFor();
    expect(await speaks('ink').getAttribute('aria-checked')).toBe('false');
    expect(await ui.page.getByRole('spinbutton', { name: 'Weight of sketch, number' }).inputValue()).toBe('0.4');
    rmSync(copy);
    await ui.page.reload();
    await expect.poll(() => ui.alerts(), patient).toEqual([expect.stringContaining('mine.safetensors')]);
    expect(await ui.page.getByRole('article').count()).toBe(2);
  });
});
