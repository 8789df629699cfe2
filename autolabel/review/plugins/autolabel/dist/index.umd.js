// Keys for the review's operators, each with Shift: the app has most single letters itself. Nothing happens while a text is being written.
(function () {
  const KEYS = {
    a: "accept",
    x: "reject",
    n: "next_pending",
    u: "undo",
    c: "change_class",
    t: "accept_above",
  };
  const ASK = new Set(["change_class", "accept_above"]);

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
      if (writing(event.target)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      window.__autolabel_act(act);
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
