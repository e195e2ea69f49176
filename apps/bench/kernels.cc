// SPDX-License-Identifier: Apache-2.0
// quern bench kernels: the roofs of this machine, and matrix products under them.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/file.h"
#include "bench/commands.h"
#include "bench/kernel_plot.h"
#include "bench/machine.h"
#include "bench/random_weights.h"
#include "bench/result.h"
#include "bench/roofs.h"
#include "bench/shapes.h"
#include "exit_codes.h"
#include "model_options.h"
#include "model_source.h"
#include "nn/owned_ctx.h"
#include "ops/matmul.h"

namespace quern::bench {
namespace {

struct KernelOptions {
  std::string config, isa;
  std::vector<std::string> types, activations = {"bf16", "int8"}, shapes;
  std::vector<int> rows = {1, 2, 4, 8, 16, 64, 256};
  int threads = 0;
  double seconds = 0.1;
  bool roofs_alone = false;
  OutputOptions output;
};

Activation activation_of(const std::string& name) {
  if (name == "int8") return Activation::int8;
  if (name == "bf16") return Activation::bf16;
  return Activation::f32;
}

std::vector<LinearShape> shapes_of(const KernelOptions& o) {
  std::vector<LinearShape> all = default_shapes();
  if (!o.config.empty()) {
    const bool is_file = o.config.ends_with(".json");
    all = linear_shapes(
        Config::read(is_file ? o.config : find_model(o.config).path + "/config.json"));
  }
  if (o.shapes.empty()) return all;
  std::erase_if(all, [&](const LinearShape& s) {
    return std::find(o.shapes.begin(), o.shapes.end(), s.name) == o.shapes.end();
  });
  if (all.empty())
    fail(ErrorCode::invalid_argument, "--shapes: expected some of qkv, o, gate_up, down, head");
  return all;
}

// Enough copies of a weight that none is in a cache when its turn comes again.
int64_t copies_of(int64_t packed_bytes) {
  constexpr int64_t kLeast = int64_t{128} << 20, kMost = int64_t{512} << 20;
  const int64_t cold = std::clamp<int64_t>(4 * sysconf(_SC_LEVEL3_CACHE_SIZE), kLeast, kMost);
  return std::clamp<int64_t>(
      (cold + packed_bytes - 1) / std::max<int64_t>(1, packed_bytes), 1, 256);
}

class Product {
 public:
  Product(OwnedCtx& ctx, const WeightKind& kind, const LinearShape& shape) : ctx_(ctx.ctx()) {
    const QuantMatrix w = kind.make(shape.n, shape.k);
    copies_.push_back(ops::pack_weight(ctx_, {w}));
    const int64_t count = copies_of(copies_.front()->bytes());
    while (static_cast<int64_t>(copies_.size()) < count)
      copies_.push_back(ops::pack_weight(ctx_, {w}));
  }

  const ops::PackedWeight& weight() const { return *copies_.front(); }

  // Seconds of one product with `rows` inputs: the best of samples of several milliseconds.
  double seconds(int rows, double budget_s) {
    constexpr int64_t kSampleUs = 5000;
    constexpr int kLeastSamples = 3;
    const Tensor x = random_inputs(rows);
    ops::matmul(ctx_, x, *copies_.front());
    double best = 1e30;
    const int64_t begin = clock_.now_us();
    for (int sample = 0;
         sample < kLeastSamples || static_cast<double>(clock_.now_us() - begin) < budget_s * 1e6;
         ++sample) {
      const int64_t start = clock_.now_us();
      int64_t calls = 0, end = start;
      for (; end - start < kSampleUs; ++calls, end = clock_.now_us())
        ops::matmul(ctx_, x, *copies_[next_++ % copies_.size()]);
      best = std::min(best, static_cast<double>(end - start) * 1e-6 / static_cast<double>(calls));
    }
    return best;
  }

 private:
  Tensor random_inputs(int rows) const {
    Tensor x = Tensor::empty({rows, weight().cols()}, DType::f32);
    uint32_t state = 1;
    for (float& v : x.span<float>()) {
      state = state * 1664525 + 1013904223;
      v = static_cast<float>(state >> 8) * 0x1p-23f - 1;
    }
    return x;
  }

  Ctx& ctx_;
  MonotonicClock clock_;
  std::vector<std::unique_ptr<ops::PackedWeight>> copies_;
  size_t next_ = 0;
};

Json row_of(const KernelMeasure& m, const Roofs& roofs) {
  const double peak = peak_of(roofs, m.activation);
  return {{"type", m.type},
          {"activation", m.activation},
          {"shape", m.shape},
          {"n", m.n},
          {"k", m.k},
          {"rows", m.rows},
          {"kernel", m.kernel},
          {"us", m.seconds * 1e6},
          {"gb_s", m.bytes / m.seconds * 1e-9},
          {"packed_gb_s", m.packed_bytes / m.seconds * 1e-9},
          {"gop_s", m.ops / m.seconds * 1e-9},
          {"read_share", share(m.bytes / m.seconds * 1e-9, roofs.read_gb_s)},
          {"op_share", share(m.ops / m.seconds * 1e-9, peak)}};
}

void print_header(const Roofs& r, Isa isa, int threads) {
  std::printf(
      "%s, %d threads: read %.1f GB/s; float32 %.0f, bf16 %.0f, int8 %.0f GOP/s (0: no such unit)\n"
      "GB/s counts the bytes of the checkpoint; all shapes of the model together\n\n"
      "%-5s %-5s %5s  %9s  %8s %6s  %9s %6s  kernel\n",
      std::string(name_of(isa)).c_str(),
      threads,
      r.read_gb_s,
      r.f32_gop_s,
      r.bf16_gop_s,
      r.int8_gop_s,
      "type",
      "act",
      "rows",
      "ms/step",
      "GB/s",
      "roof",
      "GOP/s",
      "peak");
}

void print_sum(const KernelMeasure& m, const Roofs& roofs) {
  const double gb_s = m.bytes / m.seconds * 1e-9, gop_s = m.ops / m.seconds * 1e-9;
  std::printf("%-5s %-5s %5d  %9.3f  %8.2f %5.0f%%  %9.1f %5.0f%%  %s\n",
              m.type.c_str(),
              m.activation.c_str(),
              m.rows,
              m.seconds * 1e3,
              gb_s,
              100 * share(gb_s, roofs.read_gb_s),
              gop_s,
              100 * share(gop_s, peak_of(roofs, m.activation)),
              m.kernel.c_str());
  std::fflush(stdout);
}

// All of a bench's products, and their sums over a model's step.
class KernelBench {
 public:
  KernelBench(const KernelOptions& o, Isa isa, int threads)
      : o_(o), isa_(isa), threads_(threads), shapes_(shapes_of(o)) {}

  void run() {
    measure_roofs_again();
    print_header(roofs_, isa_, threads_);
    if (o_.roofs_alone) return;
    for (const WeightKind& kind : weight_kinds())
      if (o_.types.empty() ||
          std::find(o_.types.begin(), o_.types.end(), kind.name) != o_.types.end())
        for (const std::string& activation : o_.activations)
          if (kind.name != "bf16" || activation != "int8") run_kind(kind, activation);
  }

  const Roofs& roofs() const { return roofs_; }
  const std::vector<KernelMeasure>& sums() const { return sums_; }
  Json rows() const {
    Json out = Json::array();
    for (const KernelMeasure& m : all_) out.push_back(row_of(m, roofs_));
    return out;
  }

 private:
  void measure_roofs_again() {
    ThreadPool pool(threads_);
    roofs_.raise(measure_roofs(pool, isa_));
  }

  void run_kind(const WeightKind& kind, const std::string& activation) {
    OwnedCtx ctx({.threads = threads_,
                  .isa = isa_,
                  .activation = activation_of(activation),
                  .arena_bytes = int64_t{256} << 20});
    std::vector<KernelMeasure> sums(o_.rows.size());
    for (const LinearShape& shape : shapes_) {
      Product product(ctx, kind, shape);
      for (size_t i = 0; i < o_.rows.size(); ++i) {
        KernelMeasure m = measure(product, kind, shape, o_.rows[i]);
        m.activation = activation;
        all_.push_back(m);
        add_to(sums[i], m, static_cast<double>(shape.count));
      }
    }
    for (const KernelMeasure& sum : sums) print_sum(sum, roofs_);
    sums_.insert(sums_.end(), sums.begin(), sums.end());
    measure_roofs_again();
  }

  KernelMeasure measure(Product& product,
                        const WeightKind& kind,
                        const LinearShape& shape,
                        int rows) const {
    const auto weights = static_cast<double>(shape.n * shape.k);
    return {.type = std::string(kind.name),
            .activation = {},
            .shape = shape.name,
            .kernel = product.weight().kernel(),
            .n = shape.n,
            .k = shape.k,
            .rows = rows,
            .seconds = product.seconds(rows, o_.seconds),
            .bytes = weights * kind.bits_per_weight / 8,
            .packed_bytes = static_cast<double>(product.weight().bytes()),
            .ops = 2 * weights * rows};
  }

  const KernelOptions& o_;
  Isa isa_;
  int threads_;
  std::vector<LinearShape> shapes_;
  Roofs roofs_;
  std::vector<KernelMeasure> all_, sums_;
};

int kernels(const KernelOptions& o) {
  check_outputs(o.output);
  for (const std::string& type : o.types) weight_kind(type);
  const Topology machine = probe_topology();
  ModelOptions model;
  model.isa = o.isa;
  const Isa isa = chosen_isa(model, machine);
  const int threads = o.threads > 0 ? o.threads : std::max(1, machine.physical_cores);
  const QuietMachine quiet;
  const NoiseMeter noise;
  KernelBench bench(o, isa, threads);
  bench.run();
  Json result = result_head("kernels", isa, threads);
  result["noise"] = noise.read();
  result["roofs"] = bench.roofs().to_json();
  result["kernels"] = bench.rows();
  std::printf(
      "\nbest roofs of the run: read %.1f GB/s; float32 %.0f, bf16 %.0f, int8 %.0f GOP/s; other "
      "processes used %.2f cores meanwhile\n",
      bench.roofs().read_gb_s,
      bench.roofs().f32_gop_s,
      bench.roofs().bf16_gop_s,
      bench.roofs().int8_gop_s,
      result["noise"]["other_cores"].get<double>());
  write_outputs(o.output, result, {roofline(bench.roofs(), bench.sums())});
  return kExitDone;
}

}  // namespace

void add_kernels_command(CLI::App& parent, int& exit_code) {
  auto o = std::make_shared<KernelOptions>();
  CLI::App* command =
      parent.add_subcommand("kernels", "roofs of this machine, and matrix products under them");
  command->add_option("CONFIG,-m,--model",
                      o->config,
                      "whose shapes: a model's folder or a config.json (Qwen2-1.5B)");
  command->add_option("--types", o->types, "weights: bf16, int8, int4, q8_0, q4_0, q4_k (all)")
      ->delimiter(',');
  command->add_option("--activations", o->activations, "inputs: float32, bf16, int8")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::IsMember({"float32", "bf16", "int8"}));
  command->add_option("--shapes", o->shapes, "only these: qkv, o, gate_up, down, head (all)")
      ->delimiter(',');
  command->add_option("--rows", o->rows, "inputs of one product")
      ->delimiter(',')
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  command->add_flag("--roofs-only", o->roofs_alone, "measure no products");
  command->add_option("--isa", o->isa, "caps the instruction sets");
  command->add_option("--threads", o->threads, "0: one per physical core")
      ->check(CLI::Range(0, 1024));
  command->add_option("--min-time", o->seconds, "seconds spent on each product")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 60.0));
  add_output_options(*command, o->output);
  command->callback([o, &exit_code] { exit_code = kernels(*o); });
}

}  // namespace quern::bench
