(limits) => {
  // A file that is too large is refused before it is sent, in words of the page: Gradio's own
  // remark would be gone after some seconds. The server refuses it in any case.
  const look = (event, files) => {
    const field = event.target.closest?.("[id^=al-][id$=-file]");
    const limit = field ? limits.media : limits.ontology;
    const id = field ? field.id.replace(/file$/, "refused") : "al-load-refused";
    const note = document.getElementById(id);
    const large = [...(files ?? [])].find((file) => file.size > limit.bytes);
    if (note) {
      note.hidden = !large;
      const size = large && (Math.ceil(large.size / 2 ** 20 * 10) / 10).toFixed(1);
      const shown = { name: large?.name, size };
      note.textContent = large ? limit.words.replace(/\{(name|size)\}/g, (_, key) => shown[key]) : "";
    }
    if (large) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
    return large;
  };
  const isFile = (target) => target instanceof HTMLInputElement && target.type === "file";
  addEventListener("change", (event) => {
    if (isFile(event.target) && look(event, event.target.files)) event.target.value = "";
  }, true);
  addEventListener("click", (event) => {
    const button = event.target.closest?.("[id^=al-][id$=-example]");
    const note = button && document.getElementById(button.id.replace(/example$/, "refused"));
    if (note) note.hidden = true;
  }, true);
  addEventListener("drop", (event) => look(event, event.dataTransfer?.files), true);
}
