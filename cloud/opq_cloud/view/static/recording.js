// Refuses a recording that is too large before it is sent, because a server that refuses it closes the connection.

const field = document.getElementById("recording");

field.addEventListener("change", () => {
  const bytes = [...field.files].reduce((sum, file) => sum + file.size, 0);
  const most = Number(field.dataset.mostBytes);
  const megabytes = (bytes / 1e6).toFixed(0);
  field.setCustomValidity(bytes > most ? `It has ${megabytes} MB; want ${(most / 1e6).toFixed(0)} MB or fewer.` : "");
  field.reportValidity();
});
