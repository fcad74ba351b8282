// The weight of an expert: what the hand, the keys and a typed number do.
import { expect, it, vi } from 'vitest';
import { userEvent } from 'vitest/browser';
import { render } from 'vitest-browser-svelte';
import WeightSlider from '../../src-renderer/components/WeightSlider.svelte';

const props = { label: 'Weight of fox', value: 0.8, usual: 1 };

it('the arrow keys of the slider change the weight by 0.05', async () => {
  const onchange = vi.fn();
  const screen = await render(WeightSlider, { ...props, onchange });
  screen.getByRole('slider', { name: 'Weight of fox' }).element().focus();
  await userEvent.keyboard('{ArrowRight}');
  expect(onchange).toHaveBeenLastCalledWith(0.85);
});

it('a typed number may lie beyond the ends of the slider', async () => {
  const onchange = vi.fn();
  const screen = await render(WeightSlider, { ...props, onchange });
  await screen.getByRole('spinbutton').fill('2.7');
  await userEvent.keyboard('{Tab}');
  expect(onchange).toHaveBeenLastCalledWith(2.7);
});

it('an emptied number changes nothing, and shows the weight again', async () => {
  const onchange = vi.fn();
  const screen = await render(WeightSlider, { ...props, onchange });
  const number = screen.getByRole('spinbutton');
  await number.fill('');
  await userEvent.keyboard('{Tab}');
  expect(onchange).not.toHaveBeenCalled();
  await expect.element(number).toHaveValue(0.8);
});

it('goes back to its own weight', async () => {
  const onchange = vi.fn();
  const screen = await render(WeightSlider, { ...props, onchange });
  await screen.getByRole('button').click();
  expect(onchange).toHaveBeenLastCalledWith(1);
});
