// Writing to stdout and stderr when the reader may have gone: after `| head -1` has its line, the rest is dropped.

const gone = new Set<NodeJS.WriteStream>();

/** Notices readers that stop reading, instead of failing on them. Call once, before anything is written. */
export function tolerateClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', () => gone.add(stream));
  }
}

/** Writes `text` unless the reader has gone. */
export function write(stream: NodeJS.WriteStream, text: string): void {
  if (!gone.has(stream)) stream.write(text);
}
