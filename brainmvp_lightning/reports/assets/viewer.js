// Volumes of this page in NiiVue, which is unpacked from the page itself when the viewer comes into view.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const state = byId("viewer-state");
  const AXES = ["x", "y", "z"];
  let nv = null;
  let turn = 0; // of choosing a volume; a later choice overtakes an earlier one that still loads

  const say = (text) => { state.textContent = text; state.hidden = !text; };

  function unpack(base64) {
    return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  }

  async function loadLibrary() {
    const stream = new Blob([unpack(byId("niivue").textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function why() {
    if (!window.DecompressionStream) return "this browser is too old to unpack it (DecompressionStream is missing)";
    if (!document.createElement("canvas").getContext("webgl2")) return "this browser has no WebGL2";
    return "";
  }

  async function start() {
    const reason = why();
    if (reason) return say(`The viewer cannot run: ${reason}. The pictures above show the same volumes.`);
    say("Loading the viewer.");
    await loadLibrary();
    byId("viewer").hidden = false;
    nv = new niivue.Niivue({
      isResizeCanvas: true, dragAndDropEnabled: false, crosshairColor: [0.34, 0.71, 0.91, 0.8], crosshairWidth: 0.25, logLevel: "error",
      multiplanarShowRender: 0, isNearestInterpolation: false, backColor: [0, 0, 0, 1], loadingText: "",
    });
    await nv.attachToCanvas(byId("canvas"));
    nv.setSliceType(nv.sliceTypeMultiplanar);
    nv.onLocationChange = follow;
    await show();
    say("");
    byId("viewer").dataset.ready = "yes";
  }

  // Voxel values 1, 2, ... of an overlay in the colours of the pictures; 0 is not drawn.
  function labelColours(kind, names, most) {
    const colours = JSON.parse(byId("colours").textContent)[kind];
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [names[0] ?? "background"] };
    for (let value = 1; value <= most; value++) {
      const [red, green, blue] = colours[(value - 1) % colours.length];
      table.R.push(red); table.G.push(green); table.B.push(blue); table.A.push(255); table.I.push(value);
      table.labels.push(names[value] ?? String(value));
    }
    return table;
  }

  async function show() {
    const mine = ++turn;
    const place = byId("scene").selectedIndex;
    const scene = JSON.parse(byId("scenes").textContent)[place];
    const volumes = await Promise.all(scene.layers.map((layer) => load(layer, scene)));
    if (mine !== turn) return;
    while (nv.volumes.length) nv.removeVolume(nv.volumes[0]);
    for (const volume of volumes) nv.addVolume(volume);
    overlaysOf(scene);
    focus(scene);
    byId("viewer").dataset.scene = place;
  }

  async function load(layer, scene) {
    const isImage = layer.kind === "image";
    const volume = await niivue.NVImage.loadFromBase64({
      base64: layer.data, name: `${layer.kind}.nii.gz`, colormap: "gray",
      opacity: isImage ? 1 : Number(byId(`opacity-${layer.kind}`).value),
      ...(isImage ? { cal_min: 0, cal_max: 255 } : {}),
    });
    if (!isImage) volume.setColormapLabel(labelColours(layer.kind, scene.names, Math.max(1, scene.names.length - 1, volume.global_max ?? 1)));
    return volume;
  }

  function overlaysOf(scene) {
    const legend = byId("scene-legend");
    legend.replaceChildren();
    for (const kind of ["annotation", "prediction"]) {
      const isThere = scene.layers.some((layer) => layer.kind === kind);
      byId(`opacity-${kind}`).parentElement.hidden = !isThere;
      if (!isThere) continue;
      scene.names.slice(1).forEach((name, i) => {
        const colours = JSON.parse(byId("colours").textContent)[kind];
        const entry = document.createElement("span"), swatch = document.createElement("i");
        swatch.className = "swatch";
        swatch.style.background = `rgb(${colours[i % colours.length]})`;
        entry.append(swatch, `${name} (${kind})`);
        legend.append(entry);
      });
    }
  }

  // Begin in the middle of what is annotated, or else predicted.
  function focus(scene) {
    let place = [0.5, 0.5, 0.5];
    for (let i = 1; i < scene.layers.length; i++) {
      const centre = centreOf(nv.volumes[i]);
      if (centre) { place = centre; break; }
    }
    moveTo(place);
  }

  function centreOf(volume) {
    const [, width, height, depth] = volume.dimsRAS, voxels = volume.img;
    const sums = [0, 0, 0];
    let count = 0;
    for (let i = 0; i < voxels.length; i++) {
      if (!voxels[i]) continue;
      sums[0] += i % width; sums[1] += Math.floor(i / width) % height; sums[2] += Math.floor(i / (width * height));
      count++;
    }
    return count ? [(sums[0] / count + 0.5) / width, (sums[1] / count + 0.5) / height, (sums[2] / count + 0.5) / depth] : null;
  }

  function moveTo(place) {
    nv.scene.crosshairPos = place;
    AXES.forEach((axis, i) => { byId(`slice-${axis}`).value = place[i]; });
    nv.drawScene();
  }

  function follow() {
    AXES.forEach((axis, i) => { byId(`slice-${axis}`).value = nv.scene.crosshairPos[i]; });
  }

  const sliders = () => AXES.map((axis) => Number(byId(`slice-${axis}`).value));

  function step(axis, direction) {
    const place = sliders();
    place[axis] = Math.min(1, Math.max(0, place[axis] + direction / nv.volumes[0].dimsRAS[axis + 1]));
    moveTo(place);
  }

  const KEYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 1], ArrowDown: [1, -1], PageUp: [2, 1], PageDown: [2, -1] };

  byId("canvas").addEventListener("keydown", (event) => {
    event.stopImmediatePropagation(); // NiiVue has keys of its own
    if (!(event.key in KEYS) || !nv) return;
    event.preventDefault();
    step(...KEYS[event.key]);
  }, true);
  // Each worst case in pictures leads to its slices.
  for (const figure of document.querySelectorAll("figure[data-scene]")) {
    const place = [...byId("scene").options].findIndex((option) => option.text === figure.dataset.scene);
    if (place < 0) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Slices";
    button.addEventListener("click", () => {
      byId("scene").selectedIndex = place;
      byId("viewer-section").scrollIntoView();
      if (nv) show().catch(fail);
    });
    figure.append(button);
  }

  AXES.forEach((axis) => byId(`slice-${axis}`).addEventListener("input", () => moveTo(sliders())));
  byId("scene").addEventListener("change", () => show().catch(fail));
  byId("view").addEventListener("change", (event) => nv.setSliceType(Number(event.target.value)));
  for (const kind of ["annotation", "prediction"]) {
    byId(`opacity-${kind}`).addEventListener("input", (event) => {
      const scene = JSON.parse(byId("scenes").textContent)[byId("scene").selectedIndex];
      const place = scene.layers.findIndex((layer) => layer.kind === kind);
      if (place > 0) nv.setOpacity(place, Number(event.target.value));
    });
  }

  const fail = (error) => say(`The viewer cannot run: ${error.message}. The pictures above show the same volumes.`);

  const watch = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    watch.disconnect();
    start().catch(fail);
  }, { rootMargin: "300px" });
  watch.observe(state);
})();
