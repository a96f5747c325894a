const data = JSON.parse(document.getElementById("data").textContent);
const ALIGNMENT = "alignment";
const MEAN = 0; // where heads are chosen from, that of all together
const NAMED = 2;
const LEAST_SCALE = data.grid ? Math.min(0.1, 4 / (data.grid[0] * data.grid[1])) : 0.1; // weights that are all alike stay pale
const WHOLE = 0.995; // of attention, from where on it is not told how much goes elsewhere

// What words look at, and what of it is gold.
const [THING, THINGS, SHOWING, OVERLAP] = data.grid ? ["cell", "cells", "gold cell", "overlap"] : ["region", "regions", "covering region", "IoU"];

// What every run shows of all sentences: `layer` counts from 1 or is the alignment decoder's, `head` too, 0 is the mean.
const choices = data.runs.map(() => ({ layer: 0, head: MEAN }));
// What every sentence is asked: its words what regions they look at, or one of its regions what words it looks at.
const cards = data.sentences.map((sentence) => ({ sentence, words: [], region: null, maps: sentence.maps.map((packed) => unpackMaps(sentence, packed)) }));

const list = document.getElementById("sentences");

// Maps. See training/report_maps.py for what is packed.

function bytes(base64) {
  const text = atob(base64);
  const found = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) found[i] = text.charCodeAt(i);
  return found;
}

// Return a function that gives a row of a map by its number.
function unpack({ scales, codes }, width) {
  const [scaleOf, codeOf] = [new Float32Array(bytes(scales).buffer), bytes(codes)];
  return (row) => Array.from(codeOf.subarray(row * width, (row + 1) * width), (code) => code * scaleOf[row]);
}

function unpackMaps(sentence, packed) {
  const both = (maps) => maps && {
    toRegions: unpack(maps.text_to_regions, sentence.regions.length),
    toText: maps.regions_to_text && unpack(maps.regions_to_text, sentence.words.length),
  };
  return { ...packed, attention: both(packed.attention), rollout: both(packed.rollout), alignment: both(packed.alignment) };
}

// Return which map of a run is chosen, and which of its planes; null where the run has none such.
function chosen(maps, { layer, head }) {
  if (layer === ALIGNMENT) return maps.alignment && { map: maps.alignment, plane: 0 };
  if (layer > maps.layers || head > maps.heads) return null;
  return { map: maps.attention, plane: (layer - 1) * (maps.heads + 1) + head };
}

function rolledOut(maps, { layer }) {
  return maps.rollout && layer <= maps.layers ? { map: maps.rollout, plane: layer - 1 } : null;
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

// Return weights that sum to 1, and of how much of all attention these are the shares.
function shares(row, parts) {
  const total = sum(row);
  return { weights: total ? row.map((value) => value / total) : row, total: total / parts };
}

// Return how words share their attention between regions; null where they were cut.
function lookOfWords(card, run, { map, plane }, words) {
  const { pieces } = card.maps[run];
  const known = words.filter((word) => pieces[word]);
  if (!known.length) return null;
  const rows = known.map((word) => map.toRegions(plane * pieces.length + word));
  return shares(rows[0].map((_, region) => sum(rows.map((row) => row[region]))), sum(known.map((word) => pieces[word])));
}

// Return how a region shares its attention between words; null where the map has no such direction.
function lookOfRegion(card, { map, plane }, region) {
  return map.toText ? shares(map.toText(plane * card.sentence.regions.length + region), 1) : null;
}

function look(card, run, reading) {
  if (!reading || !card.sentence.words.length) return null;
  return card.region === null ? lookOfWords(card, run, reading, card.words) : lookOfRegion(card, reading, card.region);
}

// Return what should be found: regions that show the words, or words that mean the region.
function goldOf({ sentence, words, region }) {
  if (region === null) return [...new Set(words.flatMap((word) => sentence.words[word].covers))];
  return sentence.words.map((_, word) => word).filter((word) => sentence.words[word].covers.includes(region));
}

function goldBoxes({ sentence, region, words }, gold) {
  const boxes = (region === null ? words : gold).flatMap((word) => sentence.words[word].gold);
  return [...new Map(boxes.map((box) => [box.join(), box])).values()];
}

function strongest(weights) {
  return weights.indexOf(Math.max(...weights));
}

// Names.

function called(region) {
  return `${region.attribute} ${region.name}`.trim() || THING;
}

// Return words as they stand in their sentence, phrase by phrase.
function said({ words }, numbers) {
  const phrases = new Map();
  for (const number of numbers) phrases.set(words[number].phrase[0], [...(phrases.get(words[number].phrase[0]) || []), words[number].says]);
  return [...phrases.values()].map((each) => `“${each.join(" ")}”`).join(", ");
}

function calledHead(head) {
  return head === MEAN ? "mean of heads" : `head ${head}`;
}

function calledChoice({ layer, head }) {
  return layer === ALIGNMENT ? "alignment decoder" : `layer ${layer}, ${calledHead(head)}`;
}

function runKey(run) {
  return document.querySelector(`#runs thead th:nth-child(${run + 2}) .key`).cloneNode(true);
}

function plural(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

// 0 is the card, the largest weight the strongest colour.
function heat(weight, largest) {
  const part = Math.min(weight / largest, 1);
  return part < 0.5
    ? `color-mix(in oklab, var(--heat) ${200 * part}%, var(--card))`
    : `color-mix(in oklab, var(--hot) ${200 * part - 100}%, var(--heat))`;
}

// Ink that can be read on it.
function inked(element, weight, largest) {
  element.style.background = heat(weight, largest);
  element.classList.toggle("dark", weight / largest > 0.6);
}

function scaleBar(largest) {
  const scale = make("span", "scale", "0");
  const bar = scale.appendChild(make("i"));
  bar.style.background = `linear-gradient(to right, ${[0, 0.5, 1].map((part) => heat(part, 1)).join(", ")})`;
  scale.append(largest.toFixed(2));
  return scale;
}

// Building: once for every sentence.

function wordButton(card, number) {
  const word = card.sentence.words[number];
  const button = make("button", word.points ? "word" : "word plain", word.says);
  button.type = "button";
  button.dataset.word = number;
  return button;
}

function spoken(card) {
  const { sentence } = card;
  const line = make("div", "words");
  for (const piece of sentence.text) line.append(typeof piece === "string" ? piece : wordButton(card, piece));
  const buttons = [...line.children];
  for (const phrase of new Set(sentence.words.map((word) => word.phrase[0]))) {
    const [first, last] = [phrase, sentence.words[phrase].phrase.at(-1)];
    if (first === last) continue;
    const together = document.createRange();
    together.setStartBefore(buttons[first]);
    together.setEndAfter(buttons[last]);
    together.surroundContents(make("span", "phrase"));
  }
  if (sentence.answer) {
    const answer = make("span", "answer", `→ ${sentence.answer} `);
    const last = sentence.words.length - 1;
    if (sentence.words[last]?.says === "[CLS]" && !sentence.text.includes(last)) answer.append(wordButton(card, last));
    line.append(answer);
  }
  return line;
}

function regionChoice(card) {
  const { sentence } = card;
  const label = make("label", "of-region", `or a ${THING}: `);
  const choice = make("select");
  const none = choice.appendChild(make("option", "", "–"));
  none.value = "";
  for (const region of sentence.order) {
    const option = choice.appendChild(make("option", "", called(sentence.regions[region])));
    option.value = region;
  }
  choice.addEventListener("change", () => (choice.value === "" ? askWords(card, firstWords(card)) : askRegion(card, Number(choice.value))));
  label.append(choice);
  card.choice = choice;
  return label;
}

function picture(card) {
  const { sentence } = card;
  const frame = photo(data.pictures[sentence.image], sentence.size);
  const outlines = make("div", "outlines");
  for (const region of sentence.regions) {
    const box = make("div", "box outline");
    put(box, region.box, sentence.size);
    outlines.append(box);
  }
  frame.lastChild.before(outlines);
  const wall = make("div", "wall");
  wall.append(frame);
  frame.addEventListener("click", (event) => {
    const here = regionsAt(card, frame, event);
    if (here.length) askRegion(card, here[(here.indexOf(card.region) + 1) % here.length]);
  });
  frame.addEventListener("mousemove", (event) => aim(card, regionsAt(card, frame, event)[0] ?? null));
  return wall;
}

// Return the regions under the pointer, the smallest first.
function regionsAt({ sentence: { regions, size } }, frame, event) {
  const place = frame.getBoundingClientRect();
  const x = size[0] * (event.clientX - place.left) / place.width;
  const y = size[1] * (event.clientY - place.top) / place.height;
  const area = ([x1, y1, x2, y2]) => (x2 - x1) * (y2 - y1);
  return regions.map((_, region) => region)
    .filter((region) => { const [x1, y1, x2, y2] = regions[region].box; return x1 <= x && x <= x2 && y1 <= y && y <= y2; })
    .sort((a, b) => area(regions[a].box) - area(regions[b].box));
}

function readingPanel(card, kind) {
  const panel = make("figure", "reading");
  panel.dataset.reading = kind;
  const title = make("figcaption");
  title.append(make("b"), " ", make("span", "soft"));
  panel.append(title, picture(card), make("div", "line"), make("p", "told"));
  return panel;
}

// A table of buttons that is one stop of the keyboard; arrows go from head to head.
function headGrid(card, run) {
  const maps = card.maps[run];
  const table = make("table", "heads");
  table.style.setProperty("--heads", maps.heads);
  const head = table.appendChild(make("thead")).appendChild(make("tr"));
  head.append(make("th"));
  for (let number = MEAN; number <= maps.heads; number += 1) {
    const column = head.appendChild(make("th", "", number === MEAN ? "mean" : number));
    column.scope = "col";
  }
  const body = table.appendChild(make("tbody"));
  const line = (name, choicesOfLine) => {
    const row = body.appendChild(make("tr"));
    row.appendChild(make("th", "", name)).scope = "row";
    return choicesOfLine.map((choice) => {
      const button = make("button", "head-cell");
      button.type = "button";
      button.tabIndex = -1;
      button.dataset.layer = choice.layer;
      button.dataset.head = choice.head;
      button.addEventListener("click", () => choose(run, choice));
      row.appendChild(make("td", choice.head === MEAN ? "mean" : "")).append(button);
      return { button, choice };
    });
  };
  const numbers = [...Array(maps.heads + 1).keys()];
  const grid = [...Array(maps.layers).keys()].map((layer) => line(layer + 1, numbers.map((number) => ({ layer: layer + 1, head: number }))));
  if (maps.alignment) grid.push(line("decoder", [{ layer: ALIGNMENT, head: MEAN }]));
  table.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key] || [];
    if (down === undefined) return;
    const y = grid.findIndex((cells) => cells.some(({ button }) => button === event.target));
    const x = grid[y].findIndex(({ button }) => button === event.target);
    const cells = grid[Math.min(Math.max(y + down, 0), grid.length - 1)];
    const { button } = cells[Math.min(Math.max(x + right, 0), cells.length - 1)];
    event.preventDefault();
    event.target.tabIndex = -1;
    button.tabIndex = 0;
    button.focus();
  });
  return { table, cells: grid.flat() };
}

function runBand(card, name, run) {
  const title = make("div", "of-run");
  const heading = make("h3", "run");
  heading.append(runKey(run), make("span", "name", name));
  const { table, cells } = headGrid(card, run);
  title.append(heading, make("p", "axes", "layers down, heads across"), table, make("p", "measures"));
  const panels = [title, readingPanel(card, "attention")];
  if (card.maps.some((maps) => maps.rollout)) panels.push(readingPanel(card, "rollout"));
  panels.forEach((panel) => { panel.dataset.run = run; });
  return { panels, cells };
}

function build(card) {
  const { sentence } = card;
  const element = make("article", data.grid ? "sentence on-cells" : "sentence");
  element.dataset.id = sentence.id;
  const meta = make("div", "meta");
  meta.append(make("span", "badge", sentence.source), make("span", "badge", sentence.split), make("span", "name", sentence.id), regionChoice(card));
  const header = make("div", "said");
  header.append(meta, spoken(card));
  const looks = make("div", "looks");
  card.bands = data.runs.map((name, run) => runBand(card, name, run));
  card.gold = readingPanel(card, "gold");
  looks.append(...card.bands.flatMap(({ panels }) => panels), card.gold);
  looks.style.setProperty("--readings", card.bands[0].panels.length - 1);
  looks.style.setProperty("--runs", data.runs.length);
  const charts = make("div", "panels");
  card.charts = data.runs.map((name, run) => {
    const panel = charts.appendChild(make("section", "panel"));
    panel.dataset.run = run;
    const title = make("h3");
    title.append(runKey(run), make("span", "name", name), make("span", "soft"), make("span", "found"));
    panel.append(title, make("div", "chart"));
    return panel;
  });
  element.append(header, looks, charts);
  element.addEventListener("click", (event) => {
    const column = event.target.closest("thead [data-region]");
    const place = event.target.closest("[data-word]");
    if (column) askRegion(card, Number(column.dataset.region));
    if (place) askWords(card, wordsAt(card, Number(place.dataset.word)));
  });
  element.addEventListener("mouseover", (event) => {
    const cell = event.target.closest(".map [data-region]");
    if (cell) aim(card, Number(cell.dataset.region));
    else if (!event.target.closest(".photo")) aim(card, null);
  });
  element.addEventListener("mouseleave", () => aim(card, null));
  card.element = element;
  return element;
}

// Choosing.

function firstWords({ sentence }) {
  const last = sentence.words.findLastIndex((word) => word.covers.length);
  return sentence.words.length ? sentence.words[Math.max(last, 0)].phrase : [];
}

// The first click on a word chooses its phrase, the next one the word alone.
function wordsAt(card, word) {
  const { phrase } = card.sentence.words[word];
  const isChosen = card.region === null && card.words.length === phrase.length && phrase.includes(card.words[0]);
  return isChosen ? [word] : phrase;
}

function askWords(card, words) {
  Object.assign(card, { words, region: null });
  show(card);
}

function askRegion(card, region) {
  card.region = region;
  show(card);
}

function choose(run, choice) {
  choices[run] = choice;
  redraw();
}

function chooseForAll() {
  const { value } = document.querySelector("input[name=view]:checked");
  choices.fill({ layer: value === ALIGNMENT ? value : Number(value), head: MEAN });
}

// Outlines a region on every picture of a sentence, for as long as it is pointed at.
function aim(card, region) {
  if (card.aimed === region) return;
  card.aimed = region;
  card.element.querySelectorAll(".aimed").forEach((each) => each.remove());
  card.element.querySelectorAll(".map .traced").forEach((each) => each.classList.remove("traced"));
  const outlined = [...new Set([region, card.region])].filter((each) => each !== null);
  for (const each of outlined) card.element.querySelectorAll(`.map :is(thead, .cells) [data-region="${each}"]`).forEach((column) => column.classList.add("traced"));
  if (region === null) return;
  for (const frame of card.element.querySelectorAll(".photo")) {
    const box = make("div", "box aimed");
    put(box, card.sentence.regions[region].box, card.sentence.size);
    frame.append(box);
  }
}

// Maps of words and regions.

// Return whether a word's strongest region shows what it means; null where no region does, or nothing is meant.
function verdict(word, top) {
  return word.covers.length && top !== null ? word.covers.includes(top) : null;
}

function verdictCell(word, top, tag = "td") {
  const cell = make(tag, "verdict");
  if (!word.points) return cell;
  const [mark, kind, told] = {
    true: ["✓", "right", `the strongest ${THING} covers the gold box`],
    false: ["✗", "wrong", `the strongest ${THING} does not cover the gold box`],
    null: ["–", "nothing", top === null ? "cut off" : `no ${THING} covers the gold box`],
  }[verdict(word, top)];
  cell.textContent = mark;
  cell.classList.add(kind);
  cell.setAttribute("aria-label", told);
  cell.title = told;
  return cell;
}

// Covering regions are outlined together: a side is drawn where the neighbour does not cover too.
function outline(cell, { words, order }, number, place) {
  const covers = (other, column) => words[other]?.covers.includes(order[column]);
  const sides = [[2, 0, number, place - 1], [-2, 0, number, place + 1], [0, 2, number - 1, place], [0, -2, number + 1, place]];
  const open = sides.filter(([, , other, column]) => !covers(other, column));
  cell.classList.add("covers");
  cell.style.boxShadow = open.map(([x, y]) => `inset ${x}px ${y}px 0 var(--gold)`).join(", ");
}

function mapTable(sentence, rows, largest) {
  const table = make("table", "map");
  const head = table.appendChild(make("thead")).appendChild(make("tr"));
  head.append(make("th", "says"));
  for (const region of sentence.order) {
    const column = head.appendChild(make("th"));
    column.scope = "col";
    column.dataset.region = region;
    column.append(make("span", "", called(sentence.regions[region])));
  }
  head.appendChild(make("th", "tick")).setAttribute("aria-label", "whether the strongest region covers the gold box");
  const body = table.appendChild(make("tbody"));
  sentence.words.forEach((word, number) => {
    const line = body.appendChild(make("tr", word.points ? "points" : ""));
    line.dataset.word = number;
    const says = line.appendChild(make("th", "", word.says));
    says.scope = "row";
    says.title = word.says;
    const row = rows[number];
    const top = row && strongest(row);
    if (row) {
      sentence.order.forEach((region, place) => {
        const cell = line.appendChild(make("td"));
        cell.dataset.region = region;
        cell.style.background = heat(row[region], largest);
        cell.title = `${called(sentence.regions[region])}: ${row[region].toFixed(3)}`;
        if (word.covers.includes(region)) outline(cell, sentence, number, place);
        cell.classList.toggle("top", top === region);
      });
    } else {
      line.appendChild(make("td", "cut", "beyond the run's limit of word pieces")).colSpan = sentence.order.length;
    }
    line.append(verdictCell(word, top));
  });
  return table;
}

// Of cells each word has a map of its own, in the shape of the picture.
function cellMaps(sentence, rows, largest) {
  const maps = make("div", "map of-cells");
  sentence.words.forEach((word, number) => {
    const figure = maps.appendChild(make("figure", word.points ? "points" : ""));
    figure.dataset.word = number;
    const [row, says] = [rows[number], figure.appendChild(make("figcaption", "", word.says))];
    const top = row && strongest(row);
    says.title = word.says;
    says.append(" ", verdictCell(word, top, "span"));
    const cells = figure.appendChild(make("div", "cells"));
    cells.style.gridTemplateColumns = `repeat(${data.grid[1]}, 1fr)`;
    cells.style.aspectRatio = sentence.size.join(" / ");
    if (!row) cells.classList.add("cut");
    for (const region of row ? sentence.order : []) {
      const cell = cells.appendChild(make("div"));
      cell.dataset.region = region;
      cell.style.background = heat(row[region], largest);
      cell.title = `${called(sentence.regions[region])}: ${row[region].toFixed(3)}`;
      if (word.covers.includes(region)) outlineCell(cell, word.covers, region);
      cell.classList.toggle("top", top === region);
    }
    if (!row) cells.title = "beyond the run's limit of word pieces";
  });
  return maps;
}

function outlineCell(cell, covers, region) {
  const columns = data.grid[1];
  const isFirst = region % columns === 0;
  const isLast = region % columns === columns - 1;
  const sides = [[2, 0, isFirst ? null : region - 1], [-2, 0, isLast ? null : region + 1], [0, 2, region - columns], [0, -2, region + columns]];
  cell.classList.add("covers");
  cell.style.boxShadow = sides.filter(([, , other]) => !covers.includes(other)).map(([x, y]) => `inset ${x}px ${y}px 0 var(--gold)`).join(", ");
}

function count(sentence, rows) {
  const found = sentence.words.map((word, number) => verdict(word, rows[number] && strongest(rows[number]))).filter((each) => each !== null);
  return [found.filter(Boolean).length, found.length];
}

function readMaps(card) {
  card.rows = card.maps.map((maps, run) => {
    const reading = chosen(maps, choices[run]);
    return reading && card.sentence.words.map((_, word) => lookOfWords(card, run, reading, [word])?.weights ?? null);
  });
}

// Draws the maps that are chosen, in colours of one scale for all runs.
function drawMaps(card) {
  const { sentence } = card;
  const largest = Math.max(LEAST_SCALE, ...card.rows.flatMap((rows) => (rows || []).flatMap((row) => row || [])));
  card.charts.forEach((panel, run) => {
    const rows = card.rows[run];
    const [name, found] = [panel.querySelector("h3 .soft"), panel.querySelector(".found")];
    name.textContent = calledChoice(choices[run]);
    if (!rows) {
      panel.querySelector(".chart").replaceChildren(make("p", "none", missing(run)));
      found.textContent = "";
      return;
    }
    panel.querySelector(".chart").replaceChildren((data.grid ? cellMaps : mapTable)(sentence, rows, largest));
    const [right, all] = count(sentence, rows);
    found.replaceChildren(all ? `${right} of ${plural(all, "word")} find a ${SHOWING}` : `no word has a ${SHOWING}`, scaleBar(largest));
  });
}

function missing(run) {
  return choices[run].layer === ALIGNMENT ? "This run has no alignment decoder." : `This run has no ${calledChoice(choices[run])}.`;
}

// Looks: of the words or the region that a sentence is asked about.

function show(card) {
  const { sentence, words, region } = card;
  const isLit = (number) => region === null && words.includes(number);
  card.choice.value = region ?? "";
  card.element.querySelectorAll(".words .word").forEach((button) => {
    button.classList.toggle("lit", isLit(Number(button.dataset.word)));
    button.setAttribute("aria-pressed", isLit(Number(button.dataset.word)));
  });
  card.element.querySelectorAll(".map [data-word]").forEach((line) => line.classList.toggle("lit", isLit(Number(line.dataset.word))));
  card.aimed = undefined;
  aim(card, null);
  const gold = goldOf(card);
  const looks = card.maps.map((maps, run) => ({ attention: look(card, run, chosen(maps, choices[run])), rollout: look(card, run, rolledOut(maps, choices[run])) }));
  const largest = Math.max(LEAST_SCALE, ...looks.flatMap(({ attention, rollout }) => [attention, rollout].flatMap((each) => each?.weights ?? [])));
  card.bands.forEach(({ panels: [, ...panels] }, run) => {
    for (const panel of panels) {
      const kind = panel.dataset.reading;
      const { layer } = choices[run];
      if (kind === "rollout") title(panel, kind, layer === ALIGNMENT ? "" : `after layer ${layer}, ${calledHead(MEAN)}`);
      else title(panel, layer === ALIGNMENT ? "" : kind, calledChoice(choices[run]));
      drawLook(card, panel, looks[run][kind], { gold, largest, why: whyNot(card, run, kind) });
    }
  });
  title(card.gold, "gold", region === null ? said(sentence, words) : called(sentence.regions[region]));
  drawLook(card, card.gold, goldLook(card, gold), { gold, largest: 1 / Math.max(gold.length, 1), why: "" });
  showHeads(card, gold);
}

function title(panel, name, more) {
  panel.querySelector("figcaption b").textContent = name;
  panel.querySelector("figcaption span").textContent = more;
}

function whyNot(card, run, kind) {
  const { layer } = choices[run];
  const maps = card.maps[run];
  if (kind === "rollout" && !maps.rollout) return "Two streams have no rollout: words and regions have no map in common.";
  if (kind === "rollout" && layer === ALIGNMENT) return "A rollout is of layers; choose one.";
  if (!chosen(maps, choices[run])) return missing(run);
  if (!card.words.length) return "This sentence has no words.";
  return card.region === null ? "These words are beyond the run's limit of word pieces." : "The alignment decoder has no way back, from regions to words.";
}

// Gold as weights, all alike.
function goldLook({ sentence, region }, gold) {
  const length = region === null ? sentence.regions.length : sentence.words.length;
  return { weights: Array.from({ length }, (_, number) => (gold.includes(number) ? 1 / gold.length : 0)), total: 1 };
}

function drawLook(card, panel, found, { gold, largest, why }) {
  const { sentence, region } = card;
  const frame = panel.querySelector(".boxes");
  const line = panel.querySelector(".line");
  const told = panel.querySelector(".told");
  const isGold = panel === card.gold;
  frame.replaceChildren();
  line.replaceChildren();
  panel.classList.toggle("absent", !found);
  if (region === null) {
    const weights = found?.weights ?? [];
    if (data.grid) warm(frame, sentence, weights, { largest, isGold });
    const drawn = light(frame, sentence.regions, data.grid ? [] : weights, goldBoxes(card, gold), sentence.size, largest);
    if (!isGold) putTags(frame, sentence.regions, drawn.slice(-NAMED).reverse(), weights, sentence.size);
  } else {
    light(frame, sentence.regions, [], goldBoxes(card, gold), sentence.size);
    const box = frame.appendChild(make("div", "box asked"));
    put(box, sentence.regions[region].box, sentence.size);
    if (found) line.append(colouredWords(sentence, found.weights, largest));
  }
  if (isGold) told.textContent = tellGold(card, gold);
  else if (found) told.replaceChildren(...tellLook(card, panel.dataset.reading, found, gold));
  else told.textContent = why;
}

// Draws the cells that have more than an even share of a look, the strongest with an edge; or those that are gold.
function warm(frame, { regions, size }, weights, { largest, isGold }) {
  const even = isGold ? 0 : 1 / regions.length;
  const top = isGold ? null : strongest(weights);
  weights.forEach((weight, region) => {
    const box = frame.appendChild(make("div", region === top ? "box region top" : "box region"));
    box.dataset.region = region;
    box.dataset.weight = weight;
    box.style.setProperty("--rank", Math.min(Math.max((weight - even) / (largest - even), 0), 1));
    put(box, regions[region].box, size);
  });
}

function colouredWords(sentence, weights, largest) {
  const words = make("div", "coloured");
  const there = new Set(sentence.text);
  const unsaid = weights.map((_, word) => word).filter((word) => !there.has(word)); // [CLS], for an answer
  for (const piece of [...sentence.text, ...unsaid.flatMap((word) => [" ", word])]) {
    if (typeof piece === "string") {
      words.append(piece);
      continue;
    }
    const word = words.appendChild(make("span", "", sentence.words[piece].says));
    word.dataset.of = piece;
    word.dataset.weight = weights[piece];
    word.title = weights[piece].toFixed(3);
    inked(word, weights[piece], largest);
  }
  return words;
}

function tellGold({ sentence, words, region }, gold) {
  if (region !== null) return gold.length ? `It shows ${said(sentence, gold)}.` : "No word of this sentence means it.";
  if (!words.some((word) => sentence.words[word].points)) return "These words point at nothing.";
  const how = `${OVERLAP} ≥ ${data.covering} with a gold box`;
  return gold.length ? `${plural(gold.length, `${THING} shows`, `${THINGS} show`)} it: ${how}.` : `No ${THING} shows it: none has an ${how}.`;
}

// Return what a look finds: its strongest, how much of it is on gold, and how much of attention it is.
function tellLook({ sentence, region }, kind, { weights, total }, gold) {
  const top = strongest(weights);
  const name = region === null ? called(sentence.regions[top]) : said(sentence, [top]);
  const parts = [];
  if (gold.length) {
    const isRight = gold.includes(top);
    const mark = make("b", isRight ? "right" : "wrong", isRight ? "✓" : "✗");
    mark.setAttribute("aria-label", isRight ? "found" : "not found");
    parts.push(mark, " ");
  }
  parts.push(`${name} ${weights[top].toFixed(2)}`);
  if (gold.length) parts.push(` · ${onGold(weights, gold).toFixed(2)} on gold`);
  if (total < WHOLE) parts.push(` · ${percent(total)} of the ${kind} goes to ${region === null ? THINGS : "words"}`);
  return parts;
}

function percent(part) {
  return part < 0.01 ? "less than 1 %" : `${Math.round(100 * part)} %`;
}

function onGold(weights, gold) {
  return sum(gold.map((each) => weights[each]));
}

// Every cell tells how much of a head's look is on gold; where there is no gold, how much is on one thing alone.
function showHeads(card, gold) {
  const { sentence, region } = card;
  const [things, thing] = region === null ? [THINGS, THING] : ["words", "word"];
  const of = region === null ? sentence.regions.length : sentence.words.length;
  const values = card.bands.map(({ cells }, run) => cells.map(({ choice }) => {
    const found = look(card, run, chosen(card.maps[run], choice));
    return found && (gold.length ? onGold(found.weights, gold) : Math.max(...found.weights));
  }));
  const largest = Math.max(LEAST_SCALE, Math.min(1, 2 * gold.length / of), ...values.flat()); // what chance gives stays pale
  card.bands.forEach(({ panels: [band], cells }, run) => {
    cells.forEach(({ button, choice }, number) => {
      const value = values[run][number];
      const isChosen = choice.layer === choices[run].layer && choice.head === choices[run].head;
      const says = value === null ? "nothing" : `${value.toFixed(2)} ${gold.length ? "on gold" : `on one ${thing}`}`;
      button.style.background = value === null ? "" : heat(value, largest);
      button.title = `${calledChoice(choice)}: ${says}`;
      button.setAttribute("aria-label", button.title);
      button.setAttribute("aria-pressed", isChosen);
      if (isChosen || !number) cells.forEach((each) => { each.button.tabIndex = each.button === button ? 0 : -1; });
    });
    const measured = gold.length ? `share on gold ${things}; ${(gold.length / of).toFixed(2)} by chance ` : `largest share of one ${thing}, as there is no gold `;
    band.querySelector(".measures").replaceChildren(measured, scaleBar(largest));
  });
}

// The page.

function tell() {
  document.getElementById("verdicts").replaceChildren(...data.runs.map((name, run) => {
    const counts = cards.filter((card) => card.rows[run]).map((card) => count(card.sentence, card.rows[run]));
    const [right, all] = [0, 1].map((part) => sum(counts.map((each) => each[part])));
    const item = make("li");
    item.append(runKey(run), make("span", "name", name), make("span", "soft", ` ${calledChoice(choices[run])}: `));
    if (counts.length) item.append(make("b", "", `${right} of ${all}`), ` words on this page find a ${SHOWING}`);
    else item.append("has no such map");
    return item;
  }));
}

let waiting = []; // cards that are not on the screen, drawn one by one after those that are

function redraw() {
  for (const radio of document.querySelectorAll("input[name=view]")) {
    radio.checked = choices.every(({ layer, head }) => head === MEAN && String(layer) === radio.value);
  }
  cards.forEach(readMaps);
  tell();
  const isSeen = (card) => { const { top, bottom } = card.element.getBoundingClientRect(); return bottom > 0 && top < window.innerHeight; };
  const seen = cards.filter(isSeen);
  if (!waiting.length) setTimeout(drawNext);
  waiting = cards.filter((card) => !seen.includes(card));
  list.ariaBusy = waiting.length > 0;
  seen.forEach(draw);
}

function drawNext() {
  const card = waiting.shift();
  if (card) draw(card);
  if (waiting.length) setTimeout(drawNext);
  list.ariaBusy = waiting.length > 0;
}

function draw(card) {
  drawMaps(card);
  show(card);
}

for (const card of cards) {
  list.append(build(card));
  card.words = firstWords(card);
}
document.getElementById("views").addEventListener("change", () => {
  chooseForAll();
  redraw();
});
chooseForAll();
redraw();
