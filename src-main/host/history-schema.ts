// The tables of the history, as the steps that led to them: a database says in user_version how many it has taken. A step that
// was released is never changed; a change is a new one.

export const migrations: readonly string[] = [
  // Lists read rows of `picture` by the thousand, so what is long and rarely wanted stands in `recipe`.
  `CREATE TABLE picture (
     id INTEGER PRIMARY KEY, -- milliseconds since 1970, times 1000, plus a number
     path TEXT NOT NULL UNIQUE,
     seed INTEGER NOT NULL DEFAULT 0,
     width INTEGER NOT NULL DEFAULT 0,
     height INTEGER NOT NULL DEFAULT 0,
     prompt TEXT NOT NULL DEFAULT '',
     negative TEXT NOT NULL DEFAULT '',
     model TEXT NOT NULL DEFAULT '',
     mode TEXT NOT NULL DEFAULT '',
     favourite INTEGER NOT NULL DEFAULT 0,
     state INTEGER NOT NULL DEFAULT 0, -- 0 shown, 1 trash, 2 missing
     described INTEGER NOT NULL DEFAULT 0 -- 1 once the file's own settings were read
   );
   CREATE INDEX picture_favourite ON picture (favourite, id) WHERE favourite = 1;
   CREATE INDEX picture_state ON picture (state) WHERE state <> 0;
   CREATE TABLE recipe (picture INTEGER PRIMARY KEY REFERENCES picture (id), report TEXT, ordered TEXT);
   CREATE TABLE expert (name TEXT NOT NULL, picture INTEGER NOT NULL, PRIMARY KEY (name, picture)) WITHOUT ROWID;
   CREATE INDEX expert_picture ON expert (picture);
   CREATE VIRTUAL TABLE words USING fts5 (
     prompt, experts, model, file,
     content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
   )`,
];

/** Milliseconds since 1970 of a picture's id. */
export const dateOfId = (id: number): number => Math.floor(id / 1000);
