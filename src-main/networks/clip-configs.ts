// The config.json of a whole CLIP model (transformers CLIPConfig: https://huggingface.co/docs/transformers/model_doc/clip),
// image and text half, read into our types. What would change the computation in a way we do not build is refused by name.
import { CheckpointError } from './checkpoint-error.ts';
import { Fields, mostLayers } from './config-fields.ts';
import type { ClipConfig, ClipVisionConfig } from './configs.ts';
import { parseClipTextConfig } from './sd-configs.ts';

/** Reads CLIP's config.json. `file` is for messages. Throws CheckpointError. */
export function parseClipConfig(json: unknown, file: string): ClipConfig {
  const fields = new Fields(json, file);
  const { model_type: type } = json as { readonly model_type?: unknown };
  if (type !== 'clip') throw new CheckpointError(file, `${otherKind(type)} ${expectation}`);
  const text = half(json, 'text_config');
  const textFields = new Fields(text, file);
  return {
    text: parseClipTextConfig(text, file),
    eosTokenId: textFields.count('eos_token_id', 49407),
    vision: parseClipVisionConfig(half(json, 'vision_config'), file),
    projectionDim: fields.count('projection_dim', 512),
  };
}

const expectation =
  'Expected a whole CLIP model, with image and text half ("model_type": "clip"), say openai/clip-vit-base-patch16.';

function otherKind(type: unknown): string {
  switch (type) {
    case 'clip_text_model':
      return 'this is the text half of CLIP alone.';
    case 'clip_vision_model':
      return 'this is the image half of CLIP alone.';
    case undefined:
      return 'it does not say what it is the config of.';
    default:
      return `this is another kind of model (${JSON.stringify(type).slice(0, 80)}).`;
  }
}

/** One half's fields; older files repeat them under `<name>_dict`, which transformers lets win. */
function half(json: unknown, name: string): unknown {
  const fields = json as Readonly<Record<string, unknown>>;
  const [plain, older] = [fields[name] ?? {}, fields[`${name}_dict`] ?? {}];
  return typeof plain === 'object' && typeof older === 'object' ? { ...plain, ...older } : plain;
}

/** Reads the image half's fields. Throws CheckpointError. */
function parseClipVisionConfig(json: unknown, file: string): ClipVisionConfig {
  const fields = new Fields(json, file);
  fields.only('model_type', ['clip_vision_model'], 'A CLIP image encoder is expected.');
  fields.only('num_channels', [3], 'Pictures have red, green and blue.');
  const config: ClipVisionConfig = {
    hiddenSize: fields.count('hidden_size', 768),
    intermediateSize: fields.count('intermediate_size', 3072),
    numHiddenLayers: fields.count('num_hidden_layers', 12, mostLayers),
    numAttentionHeads: fields.count('num_attention_heads', 12),
    imageSize: fields.count('image_size', 224, mostPixels),
    patchSize: fields.count('patch_size', 32, mostPixels),
    hiddenAct: fields.oneOf('hidden_act', ['quick_gelu', 'gelu'], 'quick_gelu'),
    layerNormEps: fields.number('layer_norm_eps', 1e-5),
  };
  fields.divides('hidden_size', config.hiddenSize, 'num_attention_heads', config.numAttentionHeads);
  fields.divides('image_size', config.imageSize, 'patch_size', config.patchSize);
  return config;
}

/** No CLIP looks at more: the constants of its resizing would not fit a graph. */
const mostPixels = 2048;
