// `atelier train-gate`: who of several experts speaks where, learnt from reference pictures.
import { resolve } from 'node:path';
import { gateAmplitudes, gateFormNames, gateGranularities, gateLosses } from '../contract/training.ts';
import type { TrainGateRequest } from '../contract/training.ts';
import { UsageError, withoutUndefined, type ParsedArguments } from './arguments.ts';
import type { Command } from './command.ts';
import { mixOf } from './expert-flags.ts';
import { runTraining, stopping } from './run-training.ts';
import { nameOf, pictureFlags, shortName, trainingFieldsOf, trainingFlags } from './training-flags.ts';

export const trainGateCommand: Command = {
  name: 'train-gate',
  summary: 'Trains a gate that mixes experts (LoRAs), from reference pictures or from prompts alone.',
  flags: {
    expert: { type: 'string', value: 'FILE', repeats: true, help: 'a LoRA to mix; given at least twice' },
    ...pictureFlags,
    out: {
      type: 'string',
      value: 'FILE',
      help: 'the gate file (default: the names of the experts and .mole.safetensors); never overwritten',
    },
    steps: { type: 'string', value: 'N', help: 'updates (default 400)' },
    loss: {
      type: 'string',
      value: 'NAME',
      help: `${gateLosses.join(', ')} (default: denoise with --images, distil without)`,
    },
    clip: {
      type: 'string',
      value: 'DIR',
      help: 'for the clip loss: a CLIP model, as a folder with config.json and model.safetensors',
    },
    drawn: {
      type: 'string',
      value: 'N',
      help: 'learn on the way of drawing: at every step of pictures drawn in N steps with the gates as they are; from noised references, or from noise with the clip loss',
    },
    contrast: {
      type: 'boolean',
      help: 'for the clip loss: tell the caption of each picture from those of the others too',
    },
    cfg: { type: 'string', value: 'X', help: 'with --drawn: the CFG scale that is drawn with (default 7)' },
    prompt: {
      type: 'string',
      repeats: true,
      help: 'for distil: once for each expert, what it draws best (default: its trigger words)',
    },
    granularity: {
      type: 'string',
      value: 'NAME',
      help: `what shares a gate: ${gateGranularities.join(', ')} (default block)`,
    },
    form: {
      type: 'string',
      value: 'NAME',
      help: `what a gate looks at, ${gateFormNames.join(' or ')} (default pooled: fits any picture size)`,
    },
    amplitude: {
      type: 'string',
      value: 'NAME',
      help: `${gateAmplitudes.join(' or ')}: gates add up to 1, or learn their sum too (default convex)`,
    },
    timestep: { type: 'boolean', help: 'gates know the step of the drawing too' },
    'no-listening': {
      type: 'boolean',
      help: 'gates know the step alone, not what the experts say: holds better for experts that they never met; needs --timestep',
    },
    'no-text-gates': { type: 'boolean', help: 'no gates in the text encoder' },
    role: {
      type: 'string',
      value: 'NAME',
      repeats: true,
      help: 'once for each expert, what it stands for (a subject, a style): the gate is then for any experts in these roles',
    },
    also: {
      type: 'string',
      value: 'FILES=DIR',
      repeats: true,
      help: 'more experts in the same roles, separated by commas, and the pictures that teach them; may be repeated',
    },
    balance: { type: 'string', value: 'X', help: 'how much no expert may be forgotten, 0 to 100 (default 0.5)' },
    lr: { type: 'string', value: 'X', help: 'learning rate (default 1e-3 for pooled, 1e-5 for paper)' },
    ...trainingFlags,
  },
  notes: [
    'The clip loss looks at the picture that each prediction amounts to, in the less noisy half of the timesteps: near to its caption and to its reference. It decodes in every update, which takes about 5 GB more at 512x512 with --batch 1.',
    'A gate for roles learns best from several experts in each (--also) and from pictures that show them together; amplitude free, --timestep and --no-listening suit it. Experts then stand in the order of the roles.',
    'With --drawn gates learn what to do under guidance: a reference is noised, drawn again under --cfg, and every step should lead back to it. Three times the time of an update, and the gate suits that CFG scale best.',
    'Ctrl-C stops after the present update and writes the best gate so far; the same command with --resume goes on.',
  ],
  examples: [
    'atelier train-gate --expert ink.safetensors --expert cat.safetensors --images references',
    'atelier train-gate --expert ink.safetensors --expert cat.safetensors --prompt "ink drawing" --prompt "sks cat"',
    'atelier train-gate --role "a subject" --role "a style" --expert cat.safetensors --expert ink.safetensors --images cat-in-ink --also dog.safetensors,ink.safetensors=dog-in-ink --also dog.safetensors,pixel.safetensors=dog-in-pixels --amplitude free --timestep --no-listening --out subject-style.mole.safetensors',
    'atelier train-gate --expert ink.safetensors --expert cat.safetensors --images references --loss clip --clip clip-vit-base-patch16 --batch 1',
  ],
  stopping,
  run: (context) => {
    const request = trainGateRequestOf(context.args);
    return runTraining(context, 'trainGate', request, context.args.texts('expert').map(shortName));
  },
};

/** The request that the flags describe. Throws UsageError. */
export function trainGateRequestOf(args: ParsedArguments): TrainGateRequest {
  const experts = mixOf(args)?.experts ?? [];
  if (experts.length < 2) {
    throw new UsageError(`A gate decides between experts: give --expert at least twice, not ${experts.length} times.`);
  }
  if (experts.some((expert) => Object.keys(expert).length > 1)) {
    throw new UsageError(
      'A gate is trained for experts at their full strength: leave the weights at --expert out, and give them to generate.',
    );
  }
  const clip = args.text('clip');
  const drawn = args.number('drawn');
  if (drawn === undefined && args.number('cfg') !== undefined) {
    throw new UsageError('--cfg is the scale that --drawn draws with: give --drawn too, or leave --cfg out.');
  }
  return withoutUndefined({
    ...trainingFieldsOf(args, `${nameOf(experts.map(({ path }) => path))}.mole.safetensors`),
    mix: { experts },
    prompts: [...args.texts('prompt')],
    further: args.texts('also').map((text) => stackOf(text, experts.length)),
    roles: [...args.texts('role')],
    clip: clip === undefined ? undefined : resolve(clip),
    drawing: drawn === undefined ? undefined : withoutUndefined({ steps: drawn, cfgScale: args.number('cfg') }),
    loss: args.text('loss')?.toLowerCase() as TrainGateRequest['loss'],
    contrast: args.isOn('contrast'),
    granularity: args.text('granularity')?.toLowerCase() as TrainGateRequest['granularity'],
    form: args.text('form')?.toLowerCase() as TrainGateRequest['form'],
    amplitude: args.text('amplitude')?.toLowerCase() as TrainGateRequest['amplitude'],
    timestep: args.isOn('timestep'),
    listens: !args.isOn('no-listening'),
    textGates: !args.isOn('no-text-gates'),
    balance: args.number('balance'),
  });
}

/** `a.safetensors,b.safetensors=DIR` as experts and the pictures that teach them. Throws UsageError. */
function stackOf(text: string, count: number): NonNullable<TrainGateRequest['further']>[number] {
  const at = text.lastIndexOf('=');
  const experts = text
    .slice(0, at)
    .split(',')
    .filter((path) => path !== '');
  if (at < 0 || experts.length !== count || at === text.length - 1) {
    throw new UsageError(
      `--also takes ${count} experts separated by commas, = and a folder, such as cat.safetensors,ink.safetensors=pictures; got ${text}.`,
    );
  }
  return { experts: experts.map((path) => resolve(path)), images: [resolve(text.slice(at + 1))] };
}
