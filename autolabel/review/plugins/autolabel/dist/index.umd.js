// Keys for the review's operators, each with Shift: the app has most single letters itself. Nothing happens while a text is being written.
(function () {
  const KEYS = {
    a: "accept",
    x: "reject",
    n: "next_pending",
    u: "undo",
    c: "change_class",
    t: "accept_above",
    r: "threshold",
    e: "export",
    f: "failures",
  };
  const ASK = new Set(["change_class", "accept_above", "threshold", "export", "failures"]);
  let waiting = null;

  function writing(target) {
    return (
      target.isContentEditable ||
      ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName)
    );
  }

  window.addEventListener(
    "keydown",
    (event) => {
      const key = event.key.toLowerCase();
      const act = KEYS[key];
      if (!act || !event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
      if (writing(event.target) || document.querySelector(".MuiDialog-root")) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      if (event.repeat) return;
      // The app hides an open picture's labels while Shift is held, and a dialog that opens
      // meanwhile makes it miss the release: they would stay hidden.
      if (ASK.has(act)) waiting = act;
      else window.__autolabel_act(act);
    },
    true
  );

  window.addEventListener(
    "keyup",
    (event) => {
      if (event.key !== "Shift" || waiting === null) return;
      const act = waiting;
      waiting = null;
      setTimeout(() => window.__autolabel_act(act), 0);
    },
    true
  );

  window.__autolabel_act = function (act) {
    const uri = "@autolabel/review/" + act;
    if (ASK.has(act)) {
      const prompt = "@voxel51/operators/prompt_user_for_operation";
      return window.__foo__.executeOperator(prompt, { operator_uri: uri, params: {} });
    }
    return window.__foo__.executeOperator(uri, {});
  };
})();
