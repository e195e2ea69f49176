// SPDX-License-Identifier: Apache-2.0
// Pictures on their way into a message: from files, the clipboard, a drop, or the camera. They go as data URLs, as they are.
import {$, bytes, choosesFiles, el, notice, removeButton, say} from './dom.js';

const TAKEN = ['image/jpeg', 'image/png', 'image/webp', 'image/gif'];
const MOST_BYTES = 20 << 20, MOST_PICTURES = 16;

/** A file's bytes in a URL. */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// A kind that the server does not decode becomes one that it does, if this browser can.
async function converted(file) {
  const bitmap = await createImageBitmap(file);
  const canvas = el('canvas', {width: bitmap.width, height: bitmap.height});
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.toDataURL('image/png');
}

export function showLarge(picture) {
  $('picture-large').src = picture.url;
  $('picture-large').alt = picture.name;
  $('picture-dialog').showModal();
}

export class Pictures {
  /** `whyNot()`: why the model takes none; empty if it does. */
  constructor(whyNot) {
    this.whyNot = whyNot;
    this.list = [];
    this.listen();
  }

  async add(files) {
    const why = this.whyNot();
    if (why) {
      notice(why);
      return;
    }
    for (const file of files) {
      if (this.list.length >= MOST_PICTURES) {
        notice(`A message takes ${MOST_PICTURES} pictures.`);
        break;
      }
      if (file.size > MOST_BYTES) {
        notice(`${file.name || 'The picture'} has ${bytes(file.size)}; ${bytes(MOST_BYTES)} is the most.`);
        continue;
      }
      try {
        const url = TAKEN.includes(file.type) ? await dataUrl(file) : await converted(file);
        this.list.push({url, name: file.name || 'picture'});
      } catch {
        notice(`${file.name || 'This'} is no picture that this browser can read.`);
      }
    }
    this.show();
  }

  addUrl(url, name) {
    this.list.push({url, name});
    this.show();
  }

  set(list) {
    this.list = [...list];
    this.show();
  }

  /** The pictures, which are then no longer here. */
  take() {
    const out = this.list;
    this.set([]);
    return out;
  }

  show() {
    $('pictures').hidden = this.list.length === 0;
    $('pictures').replaceChildren(...this.list.map((picture, i) =>
      el('li', {}, el('img', {src: picture.url, alt: picture.name}),
         removeButton(this, i, picture.name))));
  }

  listen() {
    choosesFiles('add-picture', 'picture-file', this);
    $('picture-close').addEventListener('click', () => $('picture-dialog').close());
    this.listenToCamera();
  }

  listenToCamera() {
    const dialog = $('camera-dialog'), video = $('camera');
    let stream = null;
    const end = () => {
      stream?.getTracks().forEach((track) => track.stop());
      stream = null;
      video.srcObject = null;
    };
    $('open-camera').addEventListener('click', async () => {
      $('camera-error').hidden = true;
      $('camera-take').disabled = true;
      dialog.showModal();
      try {
        stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: 'environment', width: {ideal: 1920}}, audio: false});
        if (!dialog.open) return end();
        video.srcObject = stream;
        await video.play();
        $('camera-take').disabled = false;
        $('camera-take').focus();
      } catch (error) {
        $('camera-error').textContent = error.name === 'NotAllowedError' ? 'The browser does not let this page use the camera.' :
          error.name === 'NotFoundError' ? 'No camera was found.' : `The camera does not work: ${error.message}`;
        $('camera-error').hidden = false;
      }
    });
    $('camera-take').addEventListener('click', () => {
      const canvas = el('canvas', {width: video.videoWidth, height: video.videoHeight});
      canvas.getContext('2d').drawImage(video, 0, 0);
      this.addUrl(canvas.toDataURL('image/jpeg', 0.92), 'camera.jpg');
      dialog.close();
      say('Picture taken');
      $('message').focus();
    });
    $('camera-cancel').addEventListener('click', () => dialog.close());
    dialog.addEventListener('close', end);
  }

  /** Buttons appear for models that see; the camera only where the browser may open one. */
  offer(sees) {
    $('add-picture').hidden = !sees;
    $('open-camera').hidden = !sees || !navigator.mediaDevices?.getUserMedia;
  }
}
