#pragma once
// What a run has done so far, beside the file that it writes: a line per tensor. A process that was killed leaves both behind, and one
// with the same input and options goes on where it stopped.
#include "manifest.hpp"

#include <fstream>

class journal {
public:
    /// `task`: all that decides about the output. resume: takes over what is there of the same task; throws when it is another.
    journal(const part_file& part, const json& task, bool resume) : part_(part), path_(part.file().path() + ".journal") {
        if (resume) load(task);
        if (!resume || lines_.empty()) {
            std::filesystem::remove(path_);
            append(task);
        } else {
            std::ofstream(path_, std::ios::trunc) << "";  // a last line that was cut short must not stay
            append(task);
            for (const json& line : lines_) append(line);
        }
    }

    /// The outcome of a tensor, if an earlier run wrote it and its bytes are still those.
    [[nodiscard]] std::optional<outcome> find(const std::string& name, const std::vector<output_piece>& pieces) const {
        for (const json& line : lines_) {
            if (line["name"] != name) continue;
            const auto sums = [&](const char* key) { return qlib::sqnr{line[key][0].get<double>(), line[key][1].get<double>()}; };
            outcome done{sums("sums"), sums("weighted"), line["sha256"]};
            sha256 hash;
            for (const output_piece& p : pieces)
                if (!part_.file().read(p.at, p.bytes, [&](std::span<const std::byte> bytes) { hash.add(bytes); })) return std::nullopt;
            if (hash.hex() == done.sha256) return done;
        }
        return std::nullopt;
    }
    void add(const std::string& name, const outcome& done) {
        append({{"name", name},
                {"sums", {done.sums.signal(), done.sums.noise()}},
                {"weighted", {done.weighted.signal(), done.weighted.noise()}},
                {"sha256", done.sha256}});
    }
    void discard() const { std::filesystem::remove(path_); }

private:
    void load(const json& task) {
        std::ifstream in(path_);
        std::string text;
        if (!std::getline(in, text)) return;
        const json known = json::parse(text, nullptr, false);
        if (known.is_discarded()) return;
        for (const auto& [key, value] : task.items())
            if (!known.contains(key) || known[key] != value)
                throw std::runtime_error(part_.file().path() + ": it was begun with another " + key + "; without --resume it is begun anew");
        while (std::getline(in, text)) {
            json line = json::parse(text, nullptr, false);
            if (!is_line(line)) return;
            lines_.push_back(std::move(line));
        }
    }
    static bool is_line(const json& line) {
        const auto is_pair = [&](const char* key) {
            const json pair = line.value(key, json());
            return pair.size() == 2 && pair[0].is_number() && pair[1].is_number();
        };
        return line.is_object() && line.contains("name") && line.value("sha256", json()).is_string() && is_pair("sums") && is_pair("weighted");
    }
    void append(const json& line) const {
        std::ofstream out(path_, std::ios::app);
        out << line.dump() << '\n';
        if (!out.flush()) fail_with_errno(path_);
    }

    const part_file& part_;
    std::string path_;
    std::vector<json> lines_;
};
