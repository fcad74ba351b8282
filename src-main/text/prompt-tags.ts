// Tags in a prompt, such as <lora:name:0.8>: A1111's way to name extra networks, and what people paste from elsewhere.
// Facts: https://github.com/AUTOMATIC1111/stable-diffusion-webui/wiki/Features#extra-networks

export interface PromptTag {
  /** "lora", "lyco", "hypernet" or whatever the prompt says: unknown kinds are for the caller to show. */
  readonly type: string;
  /** What follows the type, split at colons: for a LoRA its name, its weight in the text encoder, its weight in the UNet. */
  readonly values: readonly string[];
  /** The tag as written. */
  readonly source: string;
}

/** Takes every `<type:…>` out of a prompt. Tags come in order, repeated ones too; all other text stays as it is. */
export function extractTags(prompt: string): { readonly prompt: string; readonly tags: readonly PromptTag[] } {
  const tags: PromptTag[] = [];
  // Nothing after the last ">" can be a tag; leaving it out keeps a thousand "<a:" from being searched to the end each.
  const end = prompt.lastIndexOf('>') + 1;
  const cleaned = prompt
    .slice(0, end)
    .replace(/<([\p{L}\p{N}_]+):([^>]+)>/gu, (source, type: string, values: string) => {
      tags.push({ type, values: values.split(':'), source });
      return '';
    });
  return { prompt: cleaned + prompt.slice(end), tags };
}
