// Letters of 5 x 7 pixels, drawn for this program, so that a label looks alike on every machine: text in SVG takes the
// system's fonts, and a server may have none. Small letters are written as capitals.

/** Pixels of one letter. */
export const letterWidth = 5;
export const letterHeight = 7;

/** Rows from the top, `#` is ink; letters side by side, one blank column between them, as `order` names them. */
const sheets: readonly { readonly order: string; readonly rows: readonly string[] }[] = [
  {
    order: 'ABCDEFGHIJKLM',
    rows: [
      ' ###  ####   #### ####  ##### #####  #### #   #  ###    ### #   # #     #   #',
      '#   # #   # #     #   # #     #     #     #   #   #      #  #  #  #     ## ##',
      '#   # #   # #     #   # #     #     #     #   #   #      #  # #   #     # # #',
      '##### ####  #     #   # ####  ####  #  ## #####   #      #  ##    #     # # #',
      '#   # #   # #     #   # #     #     #   # #   #   #      #  # #   #     #   #',
      '#   # #   # #     #   # #     #     #   # #   #   #   #  #  #  #  #     #   #',
      '#   # ####   #### ####  ##### #      #### #   #  ###   ##   #   # ##### #   #',
    ],
  },
  {
    order: 'NOPQRSTUVWXYZ',
    rows: [
      '#   #  ###  ####   ###  ####   #### ##### #   # #   # #   # #   # #   # #####',
      '##  # #   # #   # #   # #   # #       #   #   # #   # #   # #   # #   #     #',
      '##  # #   # #   # #   # #   # #       #   #   # #   # #   #  # #   # #     # ',
      '# # # #   # ####  #   # ####   ###    #   #   # #   # # # #   #     #     #  ',
      '#  ## #   # #     # # # # #       #   #   #   #  # #  # # #  # #    #    #   ',
      '#  ## #   # #     #  #  #  #      #   #   #   #  # #  ## ## #   #   #   #    ',
      '#   #  ###  #      ## # #   # ####    #    ###    #   #   # #   #   #   #####',
    ],
  },
  {
    order: '0123456789',
    rows: [
      ' ###    #    ###   ###     #  #####  ###  #####  ###   ### ',
      '#   #  ##   #   # #   #   ##  #     #         # #   # #   #',
      '#  ##   #       #     #  # #  ####  #        #  #   # #   #',
      '# # #   #      #    ##  #  #      # ####    #    ###   ####',
      '##  #   #     #       # #####     # #   #   #   #   #     #',
      '#   #   #    #    #   #    #  #   # #   #   #   #   #     #',
      ' ###   ###  #####  ###     #   ###   ###    #    ###   ### ',
    ],
  },
  {
    order: ".,:-'!?()+/%_",
    rows: [
      '                          #     #    ###     #   #              # ##        ',
      '                          #     #   #   #   #     #     #       # ##  #      ',
      '              #           #     #       #  #       #    #      #     #       ',
      '                  ###           #      #   #       #  #####   #     #        ',
      '                                #     #    #       #    #    #     #         ',
      ' ##    ##     #                           #       #     #   #     #  ##       ',
      ' ##     #                       #     #     #     #         #        ##  #####',
    ],
  },
];

const letters = new Map<string, readonly string[]>(
  sheets.flatMap(({ order, rows }) =>
    Array.from(order, (letter, i): [string, readonly string[]] => {
      const start = i * (letterWidth + 1);
      return [letter, rows.map((row) => row.slice(start, start + letterWidth).padEnd(letterWidth))];
    }),
  ),
);

/** A letter without a drawing, so that a strange label is seen to be incomplete. */
const unknown: readonly string[] = ['#####', '#   #', '#   #', '#   #', '#   #', '#   #', '#####'];

/** True where the letter `text` has ink at column 0..4 and row 0..6. */
export function hasInk(letter: string, column: number, row: number): boolean {
  if (letter === ' ') return false;
  // An accented letter is drawn without its accent.
  const plain = letter.normalize('NFD').charAt(0).toUpperCase();
  return (letters.get(plain) ?? unknown)[row]?.[column] === '#';
}
