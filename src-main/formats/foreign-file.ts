// What a file is that was taken for a safetensors file and is not one, and what its owner can do about it.
// Pickled checkpoints run code when they are read, so they are refused and never opened (https://docs.python.org/3/library/pickle.html).
import { extname } from 'node:path';

const converter =
  'Convert it once with a tool that you trust, in a sandbox (for example `convert_to_safetensors` of Hugging Face), or look for its .safetensors version.';

/**
 * Says in one or two sentences what the file is, by its first bytes (`head`, 64 or more where there are), its size and
 * its name; undefined when nothing speaks against a safetensors file.
 */
export function foreignFile(path: string, head: Uint8Array, size: number): string | undefined {
  if (size === 0) return 'the file is empty. Download or copy it again.';
  const text = Buffer.from(head.buffer, head.byteOffset, Math.min(head.byteLength, 256)).toString('latin1');
  const extension = extname(path).toLowerCase();
  const pickled = ['.ckpt', '.pt', '.pth', '.bin'].includes(extension);
  // A header length below 4 GiB and the header's first sign: what is wrong with such a file, the reader says.
  if (text.slice(4, 9) === '\0\0\0\0{') return undefined;
  if (text.startsWith('PK\x03\x04')) {
    return pickled || extension === '.safetensors'
      ? `this is a PyTorch checkpoint (a zip of pickled objects), which can run code when it is read; it is not opened. ${converter}`
      : 'this is a zip archive. Unpack it and open the .safetensors file inside.';
  }
  if (/^\x80[\x02-\x05]/.test(text)) {
    return `this is a pickled PyTorch file, which can run code when it is read; it is not opened. ${converter}`;
  }
  if (/^\s*(<!doctype html|<html|<\?xml)/i.test(text)) {
    return 'this is a web page, not a model: the download gave an error or log-in page. Download the file again.';
  }
  if (text.startsWith('version https://git-lfs')) {
    return 'this is a git-lfs pointer, not the model itself. Run `git lfs pull` in its folder, or download the file.';
  }
  if (text.startsWith('GGUF')) return 'this is a GGUF file (quantised weights). Open the .safetensors version instead.';
  if (text.startsWith('\x89PNG') || text.startsWith('\xff\xd8\xff') || text.startsWith('RIFF')) {
    return 'this is a picture, not a model.';
  }
  if (extension === '.onnx') return 'this is an ONNX model. Open the .safetensors checkpoint that it was made from.';
  if (pickled) {
    return `${extension} files are pickled PyTorch objects, which can run code when they are read; they are not opened. ${converter}`;
  }
  if (/^\s*[{[]/.test(text)) return 'this is a JSON text, not a safetensors file.';
  return undefined;
}
