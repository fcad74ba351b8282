// A number with bounds: what counts of what is typed.
import { expect, it, vi } from 'vitest';
import { userEvent } from 'vitest/browser';
import { render } from 'vitest-browser-svelte';
import NumberField from '../../src-renderer/components/NumberField.svelte';

async function type(text: string, more: { readonly step?: number; readonly placeholder?: string } = {}) {
  const onchange = vi.fn();
  const screen = await render(NumberField, { label: 'Steps', value: 20, min: 1, max: 100, onchange, ...more });
  await screen.getByRole('spinbutton', { name: 'Steps' }).fill(text);
  await userEvent.keyboard('{Tab}');
  return onchange;
}

it.each([
  ['37', 37],
  ['1000', 100],
  ['-5', 1],
  ['12.6', 13],
])('typed %s counts as %d', async (text, counted) => {
  expect(await type(text)).toHaveBeenLastCalledWith(counted);
});

it('keeps fractions where its step is one', async () => {
  expect(await type('7.5', { step: 0.5 })).toHaveBeenLastCalledWith(7.5);
});

it('an empty field keeps the last number', async () => {
  expect(await type('')).not.toHaveBeenCalled();
});

it('an empty field counts where no number is an answer', async () => {
  expect(await type('', { placeholder: 'Random each time' })).toHaveBeenLastCalledWith(undefined);
});
