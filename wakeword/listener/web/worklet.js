// In the browser's audio thread: gathers what the microphone gives into blocks of 16-bit samples, one channel.

class Capture extends AudioWorkletProcessor {
  constructor(options) {
    super();
    this.size = options.processorOptions.size;
    this.begin();
  }

  begin() {
    this.block = new Int16Array(this.size);
    this.filled = 0;
  }

  process(inputs) {
    const [channel] = inputs[0];
    if (!channel) return true; // nothing is connected, for now
    for (const sample of channel) {
      const scaled = Math.round(sample * 32768);
      this.block[this.filled++] = Math.max(-32768, Math.min(32767, scaled));
      if (this.filled === this.size) {
        this.port.postMessage(this.block.buffer, [this.block.buffer]);
        this.begin(); // what was sent is gone from here
      }
    }
    return true;
  }
}

registerProcessor("capture", Capture);
