// Weight schedules against the worked examples of loractl's and LoRA Block Weight's pages.
import { describe, expect, it } from 'vitest';
import {
  parseWeightSchedule,
  showWeightSchedule,
  weightAt,
  weightAtStart,
  WeightTextError,
} from '../../src-main/text/weight-schedule.ts';

/** The weights of all steps, rounded to a millionth. */
const weights = (text: string, steps: number): number[] =>
  Array.from({ length: steps }, (_, step) => Math.round(weightAt(parseWeightSchedule(text), step, steps) * 1e6) / 1e6);

describe('a weight schedule', () => {
  it.each<[string, number, number[]]>([
    ['0.8', 3, [0.8, 0.8, 0.8]],
    [' -1.5 ', 2, [-1.5, -1.5]],
    ['0.3@0.5', 3, [0.3, 0.3, 0.3]],
    // Up to full strength half-way, and back to nothing at the end.
    ['0@0,1@0.5,0@1', 5, [0, 0.5, 1, 0.5, 0]],
    ['0.2@0.2,1@0.8', 6, [0.2, 0.2, 0.466667, 0.733333, 1, 1]],
    // The earliest weight holds before its place.
    ['0.25@0.5,1@1', 5, [0.25, 0.25, 0.25, 0.625, 1]],
    // loractl's warm-up: nothing for five steps, then on.
    ['0@5,1@6', 8, [0, 0, 0, 0, 0, 1, 1, 1]],
    ['0.75@1.0;0.5@0', 3, [0.5, 0.625, 0.75]],
    // Steps and fractions together.
    ['1@3,0@1', 5, [1, 1, 1, 0.5, 0]],
    // Two weights in one place are a jump.
    ['0@3,1@3', 4, [0, 0, 1, 1]],
  ])('%s over %i steps is %j', (text, steps, expected) => {
    expect(weights(text, steps)).toEqual(expected);
  });

  it('is heard from step start until before step stop, as LoRA Block Weight counts', () => {
    expect(weights('0.5:start=3', 5)).toEqual([0, 0, 0.5, 0.5, 0.5]);
    expect(weights('0.5:stop=3', 5)).toEqual([0.5, 0.5, 0, 0, 0]);
    expect(weights('0.5:step=2-4', 5)).toEqual([0, 0.5, 0.5, 0, 0]);
    expect(weights('0@0,1@1:start=2:stop=5', 5)).toEqual([0, 0.25, 0.5, 0.75, 0]);
    // stop=0.4 of 20 steps is stop=8.
    expect(weights('1:stop=0.4', 20)).toEqual(weights('1:stop=8', 20));
  });

  it('of one step takes its first place', () => {
    expect(weights('0.2@0,1@1', 1)).toEqual([1]);
    expect(weights('0.2@0.1,1@0.9', 1)).toHaveLength(1);
  });

  it('stands in the text encoder as its first step, whatever the window', () => {
    expect(weightAtStart(parseWeightSchedule('0.2@0.2,1@0.8:start=5'))).toBe(0.2);
    expect(weightAtStart(parseWeightSchedule('0.7'))).toBe(0.7);
  });

  it.each(['0.8', '-1', '0.2@0.2,1@0.8', '0@5,1@6', '1:start=3:stop=0.5', '1e-7', '0@3,1@3:start=0'])(
    '%s written and read again is the same',
    (text) => {
      const schedule = parseWeightSchedule(text);
      expect(parseWeightSchedule(showWeightSchedule(schedule))).toEqual(schedule);
    },
  );

  it.each([
    ['', /"" is no weight/],
    ['much', /"much" is no weight.*such as 0\.8/],
    ['0.2@0.2,x@0.8', /"x@0.8" is no weight/],
    ['1@-1', /"1@-1" is no weight/],
    ['1@2@3', /no weight/],
    ['Infinity', /no weight/],
    ['0x10', /no weight/],
    ['0.5,1@1', /0\.5 needs a place/],
    ['1:begin=3', /"begin=3" is no window.*start=5/],
    ['1:step=5', /no window/],
    ['1:start=5-10', /no window/],
    ['1@0,'.repeat(2000), /1000 points/],
  ])('refuses %s', (text, message) => {
    expect(() => parseWeightSchedule(text)).toThrow(WeightTextError);
    expect(() => parseWeightSchedule(text)).toThrow(message);
  });
});
