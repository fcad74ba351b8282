// `atelier train-lora`: a LoRA from sample pictures.
import { resolve } from 'node:path';
import { loraTargets, type TrainLoraRequest } from '../contract/training.ts';
import { UsageError, withoutUndefined, type ParsedArguments } from './arguments.ts';
import type { Command } from './command.ts';
import { runTraining, stopping } from './run-training.ts';
import { nameOf, pictureFlags, trainingFieldsOf, trainingFlags } from './training-flags.ts';

export const trainLoraCommand: Command = {
  name: 'train-lora',
  summary: 'Trains a LoRA from sample pictures, as a file that other tools load too.',
  flags: {
    ...pictureFlags,
    trigger: { type: 'string', value: 'WORD', help: 'a word for what is learnt, put before captions that lack it' },
    out: {
      type: 'string',
      value: 'FILE',
      help: 'the LoRA (default: the name of the folder and .safetensors); never overwritten',
    },
    steps: { type: 'string', value: 'N', help: 'updates (default 1000)' },
    rank: { type: 'string', value: 'N', help: 'how much it can learn, and how large it is (default 8)' },
    alpha: { type: 'string', value: 'X', help: 'alpha / rank is its strength at weight 1 (default: the rank)' },
    targets: {
      type: 'string',
      value: 'NAME',
      help: `layers of the UNet that learn: ${loraTargets.join(', ')} (default transformer)`,
    },
    'text-encoder': { type: 'boolean', help: 'the text encoder learns too' },
    prior: {
      type: 'string',
      value: 'DIR',
      repeats: true,
      help: 'pictures of the same kind that the model should go on drawing as it does; may be repeated',
    },
    'prior-weight': { type: 'string', value: 'X', help: 'how much these count (default 1)' },
    lr: {
      type: 'string',
      value: 'X',
      help: 'learning rate (default 1e-4; 1e-3 for models of a size of their own, such as the bundled one)',
    },
    ...trainingFlags,
  },
  notes: [
    'Ctrl-C stops after the present update and writes the best LoRA so far; the same command with --resume goes on.',
  ],
  examples: [
    'atelier train-lora --images drawings --trigger inkstyle --out ink.safetensors',
    'atelier train-lora --images my-cat --caption "a cat" --trigger sks --prior other-cats --rank 16 --steps 2000',
    'atelier train-lora --images drawings --trigger inkstyle --sample-prompt "a house, inkstyle" --sample-every 200',
  ],
  stopping,
  run: (context) => runTraining(context, 'trainLora', trainLoraRequestOf(context.args)),
};

/** The request that the flags describe. Throws UsageError. */
export function trainLoraRequestOf(args: ParsedArguments): TrainLoraRequest {
  const images = args.texts('images');
  if (images.length === 0) throw new UsageError('--images is missing: give the folder of the pictures to learn from.');
  return withoutUndefined({
    ...trainingFieldsOf(args, `${nameOf(images.slice(0, 1))}.safetensors`),
    rank: args.number('rank'),
    alpha: args.number('alpha'),
    targets: args.text('targets')?.toLowerCase() as TrainLoraRequest['targets'],
    textEncoder: args.isOn('text-encoder'),
    trigger: args.text('trigger'),
    priorImages: args.texts('prior').map((path) => resolve(path)),
    priorWeight: args.number('prior-weight'),
  });
}
