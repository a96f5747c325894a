// Text goes in as text, and numbers as properties of styles: nothing from the data is ever parsed as markup.
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function put(element, box, [width, height]) {
  const [x1, y1, x2, y2] = box;
  element.style.left = `${100 * x1 / width}%`;
  element.style.top = `${100 * y1 / height}%`;
  element.style.width = `${100 * Math.max(x2 - x1, 0) / width}%`;
  element.style.height = `${100 * Math.max(y2 - y1, 0) / height}%`;
}

// Return the frame of a picture, or of the reason why there is none; boxes go into its last child.
function photo(picture, [width, height]) {
  const frame = make("div", "photo");
  frame.style.setProperty("--aspect", `${width || 4} / ${height || 3}`);
  if (picture.uri) {
    const img = make("img");
    img.alt = "";
    img.src = picture.uri;
    frame.append(img);
  } else {
    frame.append(make("div", "gone", picture.missing));
  }
  frame.append(make("div", "boxes"));
  return frame;
}

// Draws the regions by weight, the gold boxes over them; returns the regions drawn, the strongest last.
// A region of the weight `largest` is drawn with all strength: that of this picture, unless several are compared.
function light(frame, regions, weights, gold, size, largest = Math.max(...weights, 1e-9)) {
  const drawn = weights.map((_, region) => region).filter((region) => weights[region] > 0.02 && regions[region]);
  drawn.sort((a, b) => weights[a] - weights[b]);
  for (const region of drawn) {
    const box = make("div", "box region");
    box.dataset.region = region;
    box.dataset.weight = weights[region];
    box.style.setProperty("--weight", weights[region]);
    box.style.setProperty("--rank", Math.max(0.12, weights[region] / largest));
    put(box, regions[region].box, size);
    frame.append(box);
  }
  for (const each of gold) {
    const box = make("div", "box gold");
    put(box, each, size);
    frame.append(box);
  }
  return drawn;
}

function tagOf(region, weight, [width, height]) {
  const [x1, y1] = region.box;
  const tag = make("div", y1 / height < 0.06 ? "tag inside" : "tag", `${region.name} ${weight.toFixed(2)}`);
  tag.style.left = `${100 * x1 / width}%`;
  tag.style.top = `${100 * y1 / height}%`;
  return tag;
}

// Names the strongest regions, each where its name hides none that is there already.
function putTags(frame, regions, strongest, targets, size) {
  const taken = [];
  for (const region of strongest) {
    const tag = tagOf(regions[region], targets[region], size);
    frame.append(tag);
    const place = tag.getBoundingClientRect();
    const hides = taken.some((other) => place.left < other.right && other.left < place.right && place.top < other.bottom && other.top < place.bottom);
    if (hides) tag.remove();
    else taken.push(place);
  }
}

// Outlines one region alone, for as long as its row is pointed at.
function trace(frame, region, weight, size) {
  untrace(frame);
  frame.classList.add("traced-on");
  const box = make("div", "box traced");
  put(box, region.box, size);
  frame.append(box, tagOf(region, weight, size));
  frame.lastChild.classList.add("traced-tag");
}

function untrace(frame) {
  frame.classList.remove("traced-on");
  frame.querySelectorAll(".traced, .traced-tag").forEach((each) => each.remove());
}
