// The heat map under the hand: press, drag and keys, without an engine.
import { describe, expect, it, vi } from 'vitest';
import { userEvent } from 'vitest/browser';
import { render } from 'vitest-browser-svelte';
import HeatMap from '../../src-renderer/components/HeatMap.svelte';

function show() {
  const calls = { ontoggle: vi.fn(), onoverride: vi.fn(), onresetrow: vi.fn() };
  const screen = render(HeatMap, {
    experts: ['fox', 'ink'],
    rows: [
      { name: 'IN01', values: [0.25, 0.75] },
      { name: 'MID', values: [0.6, 0.4] },
    ],
    least: 0,
    most: 1,
    isSilent: (row: string, expert: string) => row === 'MID' && expert === 'ink',
    overrideOf: () => undefined,
    ...calls,
  });
  return { screen, ...calls };
}

describe('the heat map', () => {
  it('names the expert, the block and the value of every cell for a screen reader', async () => {
    const { screen } = show();
    await expect.element((await screen).getByRole('button', { name: /fox in IN01: 0\.25/ })).toBeVisible();
  });

  it('says which expert is silent in a block', async () => {
    const { screen } = show();
    await expect.element((await screen).getByRole('button', { name: /ink is silent in MID/ })).toBeVisible();
  });

  it('a press silences, and sets nothing', async () => {
    const { screen, ontoggle, onoverride } = show();
    await (await screen).getByRole('button', { name: /fox in IN01/ }).click();
    expect(ontoggle).toHaveBeenCalledExactlyOnceWith('IN01', 'fox');
    expect(onoverride).not.toHaveBeenCalled();
  });

  it('the arrow keys set a value by hand, within its bounds', async () => {
    const { screen, onoverride, ontoggle } = show();
    (await screen)
      .getByRole('button', { name: /fox in IN01/ })
      .element()
      .focus();
    await userEvent.keyboard('{ArrowUp}');
    expect(onoverride).toHaveBeenLastCalledWith('IN01', 'fox', 0.3);
    expect(ontoggle).not.toHaveBeenCalled();
  });
});
