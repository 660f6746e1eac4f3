// The microphone as blocks of 16-bit samples, at the rate that the browser has: who gets them resamples.

const BLOCK_S = 0.08;

// Detectors are trained on sound as it comes: what browsers do for telephone calls would change it.
const RAW = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };

// Of a microphone that cannot be used nothing stays open.
export async function openMicrophone(onBlock, onEnd) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: RAW });
  let context;
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    context?.close();
  };
  try {
    context = new AudioContext();
    await context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    const size = Math.round(BLOCK_S * context.sampleRate);
    const capture = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
      processorOptions: { size },
    });
    capture.port.onmessage = (message) => onBlock(message.data);
    context.createMediaStreamSource(stream).connect(capture);
    stream.getAudioTracks()[0].onended = onEnd;
    await context.resume();
    return { rate: context.sampleRate, close };
  } catch (error) {
    close();
    throw error;
  }
}

// Plays 16-bit samples at 16 kHz.
export async function play(pcm) {
  const context = new AudioContext();
  const whole = new Int16Array(pcm);
  const buffer = context.createBuffer(1, whole.length, 16000);
  buffer.getChannelData(0).set(Float32Array.from(whole, (sample) => sample / 32768));
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  source.onended = () => context.close();
  source.start();
}
