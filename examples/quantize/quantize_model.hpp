#pragma once
// The way through a model: plan, hash the source, then tensor by tensor into the output, then the header.
#include "journal.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "tensor_encoder.hpp"

inline double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// SHA-256 of each of a model's files.
inline std::vector<std::string> hash_files(const std::vector<model_file>& files) {
    std::uint64_t total = 0;
    for (const model_file& f : files) total += f.memory.bytes().size();
    progress_bar bar("hashing the source", total);
    std::vector<std::string> hashes;
    for (const model_file& f : files) {
        sha256 hash;
        descriptor(f.path, O_RDONLY).read(0, f.memory.bytes().size(), [&](std::span<const std::byte> bytes) {
            hash.add(bytes);
            bar.advance(bytes.size());
        });
        hashes.push_back(hash.hex());
    }
    return hashes;
}

/// Encodes one tensor into its places in the file.
inline outcome write_tensor(const model& m, const planned_tensor& p, const std::vector<output_piece>& pieces, tensor_encoder& encoder, const descriptor& file) {
    sha256 hash;
    std::uint64_t at = pieces[0].at;
    const auto put = [&](std::span<const std::byte> bytes) {
        hash.add(bytes);
        file.write(at, bytes);
        at += bytes.size();
    };
    outcome done;
    if (pieces.size() == 1) {
        done = encoder.encode(p, put);
    } else {
        std::vector<std::byte> whole;
        done = encoder.encode(p, [&](std::span<const std::byte> bytes) { whole.insert(whole.end(), bytes.begin(), bytes.end()); });
        const auto parts = m.cut(p, std::move(whole));
        for (std::size_t i = 0; i < pieces.size(); ++i) {
            at = pieces[i].at;
            put(parts[i]);
        }
    }
    done.sha256 = hash.hex();
    return done;
}

/// All tensors; those that an earlier run wrote are taken over.
inline std::vector<outcome> write_tensors(const model& m, const std::vector<planned_tensor>& plan, const output_layout& layout, const options& o,
                                          const part_file& part, journal& log, report& table) {
    progress_bar bar("quantizing", m.bytes());
    tensor_encoder encoder(o.fit(), o.threads, [&](std::uint64_t bytes) { bar.advance(bytes); });
    std::vector<outcome> outcomes;
    for (std::size_t i = 0; i < plan.size(); ++i) {
        const auto start = std::chrono::steady_clock::now();
        const source_tensor& t = *plan[i].source;
        auto done = log.find(t.name, layout.pieces[i]);
        const bool earlier = done.has_value();
        if (earlier) {
            bar.skip(t.data.size());
        } else {
            done = write_tensor(m, plan[i], layout.pieces[i], encoder, part.file());
            log.add(t.name, *done);
        }
        outcomes.push_back(*done);
        bar.clear();
        table.add(plan[i], *done, earlier, seconds_since(start));
    }
    return outcomes;
}

/// The header with the true manifest in place of one of the same length.
inline std::vector<std::byte> finished_header(const model& m, const std::vector<planned_tensor>& plan, const std::string& manifest,
                                              const output_layout& layout) {
    output_layout finished = m.lay_out(plan, manifest);
    if (finished.header.size() != layout.header.size() || finished.file_size != layout.file_size)
        throw std::logic_error("the header's length changed");
    return std::move(finished.header);
}

/// Runs the plan.
inline void quantize_model(const model& m, const std::vector<planned_tensor>& plan, const options& o, const imatrix_input* imatrix) {
    const auto start = std::chrono::steady_clock::now();
    report table(plan);
    if (imatrix != nullptr) report::importance(plan);
    if (o.dry_run) {
        table.print(plan);
        table.substitutions(plan);
        return table.totals(m.bytes(), m.lay_out(plan, "").file_size, 0);
    }
    const bool is_copy = std::ranges::none_of(plan, [](const planned_tensor& p) { return p.format.has_value(); });
    const json draft = describe(m.files(), hash_files(m.files()), o, imatrix, plan, m.lay_out(plan, ""));
    const std::string room = is_copy ? "" : longest_text(draft, plan);
    output_layout layout = m.lay_out(plan, room);

    const part_file part(o.output);
    part.resize(o.resume ? std::min(part.file().size(), layout.file_size) : 0);
    journal log(part, {{"tool", draft["tool"]}, {"source", draft["source"]}, {"options", draft["options"]},
                       {"imatrix", imatrix != nullptr ? draft["imatrix"] : json()}, {"header", sha256_of(layout.header)}}, o.resume);
    try {
        part.resize(layout.file_size);
        table.head("SQNR dB", "      ms");
        const std::vector<outcome> outcomes = write_tensors(m, plan, layout, o, part, log, table);
        const json manifest = with_outcomes(draft, plan, outcomes);
        if (!is_copy) layout.header = finished_header(m, plan, fill(manifest, room.size()), layout);
        part.file().write(0, layout.header);
        if (!is_copy) write_file(manifest_path(o.output), with_header(manifest, layout.header).dump(1) + "\n");
        part.keep();
        log.discard();
    } catch (const std::system_error&) {  // a full disk: what is done can be used
        std::fprintf(stderr, "quantize: %s is kept; --resume goes on from there\n", part.file().path().c_str());
        throw;
    } catch (...) {
        part.discard();
        log.discard();
        throw;
    }
    table.substitutions(plan);
    table.totals(m.bytes(), layout.file_size, seconds_since(start));
}
