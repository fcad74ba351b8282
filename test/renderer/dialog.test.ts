// Dialogs and the line between two pictures: what the keyboard does.
import { createRawSnippet } from 'svelte';
import { expect, it, vi } from 'vitest';
import { userEvent } from 'vitest/browser';
import { render } from 'vitest-browser-svelte';
import ABSlider from '../../src-renderer/components/ABSlider.svelte';
import Dialog from '../../src-renderer/components/Dialog.svelte';

const children = createRawSnippet(() => ({ render: () => '<p>Something to read</p>' }));

it('a dialog has a name, keeps the focus, and asks to be closed by Escape', async () => {
  const onclose = vi.fn();
  const screen = await render(Dialog, { label: 'Settings', onclose, children });
  const dialog = screen.getByRole('dialog', { name: 'Settings' });
  await expect.element(dialog).toBeVisible();
  expect(dialog.element().contains(document.activeElement)).toBe(true);
  await userEvent.keyboard('{Escape}');
  expect(onclose).toHaveBeenCalledOnce();
});

it('the line between two pictures goes to their ends by keys, and says how much of each is seen', async () => {
  const dot = 'data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7';
  const side = (label: string) => ({ address: dot, label, width: 64, height: 64 });
  const screen = await render(ABSlider, { a: side('plain sum'), b: side('gates') });
  const line = screen.getByRole('slider');
  line.element().focus();
  await userEvent.keyboard('{Home}');
  await expect.element(line).toHaveAttribute('aria-valuetext', '0 % A, 100 % B');
  await userEvent.keyboard('{End}');
  await expect.element(line).toHaveAttribute('aria-valuetext', '100 % A, 0 % B');
});
