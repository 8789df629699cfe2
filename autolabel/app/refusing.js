(limits) => {
  // A file that isn't taken is refused before it is sent, in words of the page: Gradio's own
  // remark would be gone after some seconds. The server refuses it in any case.
  const why = (file, limit) => {
    if (file.size > limit.bytes) return limit.large;
    const ending = /\.[^.]*$/.exec(file.name)?.[0].toLowerCase() ?? "";
    return limit.taken.includes(ending) ? "" : limit.wrong[ending] ?? limit.wrong[""];
  };
  const told = (file, words) => {
    const size = (Math.ceil((file.size / 2 ** 20) * 10) / 10).toFixed(1);
    return words.replace(/\{(name|size)\}/g, (_, key) => (key === "name" ? file.name : size));
  };
  const refused = (event, files) => {
    const field = event.target.closest?.("[id^=al-][id$=-file]");
    const kind = field ? field.id.split("-")[1] : "load";
    const wrong = [...(files ?? [])].find((file) => why(file, limits[kind]));
    const note = document.getElementById(`al-${kind}-refused`);
    if (note) {
      note.hidden = !wrong;
      note.textContent = wrong ? told(wrong, why(wrong, limits[kind])) : "";
    }
    if (wrong) {
      event.preventDefault();
      event.stopImmediatePropagation();
    }
    return wrong;
  };
  addEventListener("change", (event) => {
    const input = event.target;
    if (input.type === "file" && refused(event, input.files)) input.value = "";
  }, true);
  addEventListener("drop", (event) => {
    if (event.dataTransfer?.files.length) refused(event, event.dataTransfer.files);
  }, true);
  addEventListener("click", (event) => {
    const button = event.target.closest?.("[id^=al-][id$=-example]");
    const note = button && document.getElementById(button.id.replace(/example$/, "refused"));
    if (note) note.hidden = true;
  }, true);
}
