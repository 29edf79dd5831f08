// A recording that is too large is named before it is sent: a server that refuses it cuts the connection.

const field = document.getElementById("recording");

field.addEventListener("change", () => {
  const bytes = [...field.files].reduce((sum, file) => sum + file.size, 0);
  const most = Number(field.dataset.mostBytes);
  const megabytes = (bytes / 1e6).toFixed(0);
  field.setCustomValidity(bytes > most ? `It has ${megabytes} MB; want ${(most / 1e6).toFixed(0)} MB or fewer.` : "");
  field.reportValidity();
});
