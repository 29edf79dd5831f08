% Signals of ArkArya's two generators, drawn at random from their grids, for test_measure_classify_foreign.py.
%
%   git clone https://github.com/ArkArya/Power-Quality-Distrubances-Dataset
%   git clone https://github.com/ArkArya/Power-Quality-Disturbances-Dataset-Generation-Considering-Frequency-Fluctuations
%   octave proto/tests/arkarya_signals.m FOLDER OUT        (FOLDER has both clones; Octave 7)
%   OPQ_ARKARYA=OUT pytest -s -m slow proto/tests/test_measure_classify_foreign.py
%
% Nothing of their code is here: their files are read and run. Three things are changed while they run: figures,
% noise and files are left out; the samples go on for 0.2, 0.4 and 1 s (theirs end at 0.2 s); and what the
% equation of a row was given is written beside its samples.

1; % a script, not a function file

function y = heaviside(x) % of MATLAB's symbolic toolbox
  y = (x > 0) + 0.5 * (x == 0);
end

function [opq_count, opq_rows, opq_given] = run_file(opq_text, opq_wanted)
  % Their variables stand beside ours, whose names begin with opq_.
  opq_count = 0;
  opq_rows = opq_given = [];
  eval(opq_text);
end

function text = changed(text, seconds)
  keep = ["opq_count++; if any(opq_count == opq_wanted), opq_rows(end+1,:) = x(ts); " ...
          "opq_given(end+1,:) = opq_values(x); end"];
  text = regexprep(text, '^\s*(clc|clear|close|figure|plot|hold|csvwrite|disp|function|SNR)\>[^\n]*$', '', 'lineanchors');
  text = regexprep(text, '^[^\n%]*(x_20|awgn|xs_temp_20|xs_20|xs_temp\(\d|xs_temp;|xs_all|shuffled|numRows)[^\n]*$', '', 'lineanchors');
  text = regexprep(text, 'ts\s*=\s*0:1/fs:0\.2', sprintf('ts = 0:1/fs:%g', seconds));
  text = regexprep(text, '(xs_temp\(flag,:\)|xs)\s*=\s*x\(ts\);', keep);
end

function values = opq_values(x)
  % The frequency of the fundamental stands in the equation, as a number or as F.
  found = regexp(strrep(func2str(x), ' ', ''), '2\*(?:pi\*)?(F|[0-9.]+)\*(?:pi\*)?t[-)]', 'tokens', 'once');
  if strcmp(found{1}, 'F'), hz = evalin('caller', 'F'); else, hz = str2double(found{1}); end
  values = hz;
  for name = {'alpha', 't1', 't2', 'alpha3', 'alpha5', 'alpha7', 'lamda', 'fn', 'f_flick', 'tao', 'beta', 'chi'}
    value = NaN;
    if evalin('caller', ['exist("' name{1} '", "var")']), value = evalin('caller', name{1}); end
    values(end+1) = value(1);
  end
end

arguments = argv();
rows = 18;
for seconds = [0.2 0.4 1.0]
  for clone = {'Distrubances-Dataset', 'Frequency-Fluctuations'}
    for file = glob(fullfile(arguments{1}, ['*' clone{1}], 'c*.m'))'
      [~, name] = fileparts(file{1});
      number = sscanf(name, 'c%d');
      text = changed(fileread(file{1}), seconds);
      count = run_file(text, []);
      rand('twister', number);
      [~, signals, given] = run_file(text, randperm(count, rows));
      kind = 'plain'; if strcmp(clone{1}, 'Frequency-Fluctuations'), kind = 'frequencies'; end
      save('-v6', fullfile(arguments{2}, sprintf('%s_%02d_%g.mat', kind, number, seconds)), 'signals', 'given');
      printf('%s %s %g s: %d of %d\n', kind, name, seconds, size(signals, 1), count);
    end
  end
end
