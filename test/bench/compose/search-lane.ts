// The search for gates by itself, in one process or several beside each other, and its gate as a file for any subject beside any style:
//   node out/bench/search.js [SPACE [LANE LANES [OUTPUT.mole.safetensors]]]
import { join, resolve } from 'node:path';
import { openCheckpoint } from '../../../src-main/engine/checkpoint.ts';
import { writeGateFile } from '../../../src-main/engine/gate-file.ts';
import { LoadedModel } from '../../../src-main/engine/loaded-model.ts';
import { root } from '../programs.ts';
import { pairs } from './compositions.ts';
import { Bench } from './methods.ts';
import { gateAt, rounds, search, spaces } from './search.ts';

const [name = 'full', lane = '0', lanes = '1', output] = process.argv.slice(2);
const space = Object.values(spaces).find(({ id }) => id === name);
if (space === undefined) throw new Error(`There is no search "${name}": choose ${Object.keys(spaces).join(', ')}.`);
const modelPath = join(root, 'models/atelier-mini');
const device = { provider: 'cpu', threads: 1, fusedAttention: true } as const;
const bench = new Bench(new LoadedModel(await openCheckpoint(modelPath), device));
const point = await search(bench, modelPath, space, Number(lane), Number(lanes));
if (output !== undefined) {
  const gate = await gateAt(bench, point, [pairs.taught[0]!, pairs.styles[0]!]);
  const pictures = rounds.reduce((sum, round) => sum + round.pictures, 0);
  const training = { training: JSON.stringify({ loss: 'finished pictures', pictures }) };
  console.log(await writeGateFile(resolve(output), gate, training));
}
await bench.model.release();
